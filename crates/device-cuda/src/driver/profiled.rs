//! A driver that tells how long each kernel takes.
//!
//! Key decision: while it is asked, a launch is repeated many times at once and the whole is timed. So a
//! kernel's own time is told, without the driver's time to launch it, and without tools that a machine may lack.
//! What a step computes meanwhile is wrong; how long it takes is not. A recorded step is taken apart for that.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use garrison_device::DeviceError;

use super::dense::{DensePlan, DenseProduct, NoDense};
use super::{Address, Driver, Grid};
use crate::gpu::lock;

/// Another driver, whose launches are timed on demand.
pub struct Profiled<D: Driver> {
    driver: D,
    /// Of the kernels that were asked for.
    names: Mutex<Vec<String>>,
    timing: Mutex<Option<Timing>>,
    /// What is being recorded.
    recording: Mutex<Option<Vec<Launch<D::Function>>>>,
}

/// A recorded step, and the launches in it.
pub struct Graph<D: Driver> {
    inner: D::Graph,
    launches: Vec<Launch<D::Function>>,
}

/// Something that was launched.
enum Launch<F> {
    Kernel { function: Function<F>, grid: Grid, args: Vec<u8> },
    Product(DenseProduct),
}

/// What products of halves are called among kernels.
const PRODUCTS: &str = "cublasLt";

/// What is known so far.
struct Timing {
    repetitions: usize,
    /// By kernel.
    times: BTreeMap<usize, (usize, f64)>,
}

/// Time of all launches of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// The kernel.
    pub name: String,
    /// How often it was launched.
    pub launches: usize,
    /// What all launches took.
    pub seconds: f64,
}

/// A kernel of the driver below, and its name's number.
#[derive(Clone, Copy)]
pub struct Function<F> {
    inner: F,
    name: usize,
}

impl<D: Driver> Profiled<D> {
    /// Over `driver`.
    pub fn new(driver: D) -> Self {
        Profiled { driver, names: Mutex::default(), timing: Mutex::new(None), recording: Mutex::new(None) }
    }

    /// A kernel's number.
    fn number(&self, name: &str) -> usize {
        let mut names = lock(&self.names);
        names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        })
    }

    /// Launches once, or, while it is asked, many times.
    fn timed(&self, kernel: usize, launch: impl Fn() -> Result<(), DeviceError>) -> Result<(), DeviceError> {
        let mut timing = lock(&self.timing);
        let Some(timing) = &mut *timing else { return launch() };
        self.driver.synchronize()?;
        let begun = Instant::now();
        (0..timing.repetitions).try_for_each(|_| launch())?;
        self.driver.synchronize()?;
        let (launches, seconds) = timing.times.entry(kernel).or_default();
        *launches += 1;
        *seconds += begun.elapsed().as_secs_f64() / timing.repetitions as f64;
        Ok(())
    }

    /// What each kernel that `work` launches takes, the longest first: each launch is repeated so often. Results of
    /// `work` are not to be used.
    ///
    /// # Errors
    /// If `work` fails.
    pub fn profile(
        &self,
        repetitions: usize,
        work: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<Vec<KernelTime>, DeviceError> {
        *lock(&self.timing) = Some(Timing { repetitions: repetitions.max(1), times: BTreeMap::new() });
        let worked = work();
        let timing = lock(&self.timing).take();
        worked?;
        let names = lock(&self.names);
        let times = timing.into_iter().flat_map(|timing| timing.times);
        let time = |(kernel, (launches, seconds)): (usize, (usize, f64))| KernelTime {
            name: names[kernel].clone(),
            launches,
            seconds,
        };
        let mut times: Vec<KernelTime> = times.map(time).collect();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(times)
    }
}

impl<D: Driver> Driver for Profiled<D> {
    type Memory = D::Memory;
    type Function = Function<D::Function>;
    type Graph = Graph<D>;

    fn name(&self) -> String {
        self.driver.name()
    }

    fn processors(&self) -> usize {
        self.driver.processors()
    }

    fn available(&self) -> Result<usize, DeviceError> {
        self.driver.available()
    }

    fn alloc(&self, what: &str, bytes: usize) -> Result<D::Memory, DeviceError> {
        self.driver.alloc(what, bytes)
    }

    fn address(memory: &D::Memory) -> Address {
        D::address(memory)
    }

    fn function(&self, name: &str) -> Result<Self::Function, DeviceError> {
        let inner = self.driver.function(name)?;
        Ok(Function { inner, name: self.number(name) })
    }

    fn write(&self, to: &D::Memory, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.driver.write(to, offset, bytes)
    }

    fn zero(&self, to: &D::Memory) -> Result<(), DeviceError> {
        self.driver.zero(to)
    }

    fn read(&self, from: &D::Memory, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.driver.read(from, offset, bytes)
    }

    fn send(&self, from: &D::Memory, bytes: usize, mailbox: usize) -> Result<(), DeviceError> {
        self.driver.send(from, bytes, mailbox)
    }

    fn receive(&self, mailbox: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.driver.receive(mailbox, bytes)
    }

    unsafe fn launch(&self, function: Self::Function, grid: Grid, args: &[u8]) -> Result<(), DeviceError> {
        if let Some(recorded) = &mut *lock(&self.recording) {
            recorded.push(Launch::Kernel { function, grid, args: args.to_vec() });
        }
        // SAFETY: the caller's promise, which holds for repetitions, too: nothing is freed in between.
        self.timed(function.name, || unsafe { self.driver.launch(function.inner, grid, args) })
    }

    fn open_dense(&self) -> Result<DensePlan, NoDense> {
        self.driver.open_dense()
    }

    unsafe fn multiply(&self, product: &DenseProduct) -> Result<(), DeviceError> {
        if let Some(recorded) = &mut *lock(&self.recording) {
            recorded.push(Launch::Product(*product));
        }
        // SAFETY: as above.
        self.timed(self.number(PRODUCTS), || unsafe { self.driver.multiply(product) })
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.driver.synchronize()
    }

    fn begin_recording(&self) -> Result<(), DeviceError> {
        self.driver.begin_recording()?;
        *lock(&self.recording) = Some(Vec::new());
        Ok(())
    }

    fn end_recording(&self) -> Result<Graph<D>, DeviceError> {
        let launches = lock(&self.recording).take().unwrap_or_default();
        self.driver.end_recording().map(|inner| Graph { inner, launches })
    }

    unsafe fn replay(&self, graph: &Graph<D>) -> Result<(), DeviceError> {
        if lock(&self.timing).is_none() {
            // SAFETY: the caller's promise.
            return unsafe { self.driver.replay(&graph.inner) };
        }
        let launch = |one: &Launch<D::Function>| match one {
            // SAFETY: the caller's promise: these launches are what the recording has.
            Launch::Kernel { function, grid, args } => unsafe { self.launch(*function, *grid, args) },
            // SAFETY: likewise.
            Launch::Product(product) => unsafe { self.multiply(product) },
        };
        graph.launches.iter().try_for_each(launch)
    }
}
