//! What the backend asks of a GPU: memory, copies, launches, and recordings of launches.
//!
//! Key decision: everything above is written against this trait, and there are two of it, the CUDA driver
//! and the emulator. So the backend's own code runs in tests without a GPU, to the byte.

pub(crate) mod cuda;
pub(crate) mod dense;
#[cfg(feature = "emulator")]
pub(crate) mod emulator;
mod life;
pub(crate) mod nccl;
pub(crate) mod profiled;

use bytemuck::{Pod, Zeroable};
use garrison_device::DeviceError;

use dense::{DensePlan, DenseProduct, NoDense};

/// Where something is on the GPU; what kernels take as a pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// What is `bytes` further.
    pub(crate) fn offset(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

/// How many blocks of how many threads run a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks: at least one each way.
    pub blocks: [u32; 3],
    /// Threads of each.
    pub threads: u32,
}

/// Reads that may be under way at a time, and how long each may be.
pub(crate) const MAILBOXES: usize = 8;
pub(crate) const MAILBOX_BYTES: usize = 4 << 10;

/// One GPU, one stream: everything happens in the order in which it was asked for.
pub trait Driver: Send + Sync + 'static {
    /// Memory of the GPU, given back when dropped.
    type Memory: Send + Sync;
    /// A kernel.
    type Function: Copy + Send + Sync;
    /// Launches that were recorded.
    type Graph: Send;

    /// What `ready … device=` and logs call it.
    fn name(&self) -> String;

    /// Blocks that it runs at the same time, about: its multiprocessors.
    fn processors(&self) -> usize;

    /// Bytes of memory that nobody has taken.
    ///
    /// # Errors
    /// If the device fails.
    fn available(&self) -> Result<usize, DeviceError>;

    /// Memory that may hold anything, at an address that is a multiple of 256.
    ///
    /// # Errors
    /// If there is not so much left; `what` is for the message.
    fn alloc(&self, what: &str, bytes: usize) -> Result<Self::Memory, DeviceError>;

    /// Where it is.
    fn address(memory: &Self::Memory) -> Address;

    /// The kernel of that name.
    ///
    /// # Errors
    /// If this build has none.
    fn function(&self, name: &str) -> Result<Self::Function, DeviceError>;

    /// Writes bytes, after everything enqueued. `bytes` may change as soon as this returns.
    ///
    /// # Errors
    /// If the device fails.
    fn write(&self, to: &Self::Memory, offset: usize, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Writes zeros to all of it, after everything enqueued.
    ///
    /// # Errors
    /// If the device fails.
    fn zero(&self, to: &Self::Memory) -> Result<(), DeviceError>;

    /// Reads bytes, after everything enqueued.
    ///
    /// # Errors
    /// If the device fails, or did before.
    fn read(&self, from: &Self::Memory, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Begins to read bytes, after everything enqueued so far, by way of one of [`MAILBOXES`] places that holds
    /// [`MAILBOX_BYTES`]; what it held before is forgotten.
    ///
    /// # Errors
    /// If the device fails, or did before.
    fn send(&self, from: &Self::Memory, bytes: usize, mailbox: usize) -> Result<(), DeviceError>;

    /// What was sent to a mailbox, once it is there; what was enqueued since is not waited for.
    ///
    /// # Errors
    /// If the device fails, or did before.
    fn receive(&self, mailbox: usize, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Enqueues a kernel.
    ///
    /// # Safety
    /// `args` is what the kernel takes, and with this grid it touches nothing but memory that is the
    /// caller's and stays until it has run.
    ///
    /// # Errors
    /// If it cannot be run like that.
    unsafe fn launch(&self, function: Self::Function, grid: Grid, args: &[u8]) -> Result<(), DeviceError>;

    /// Starts what multiplies halves at the rate of the GPU's tensor cores; how that is best done here. Asked for once, at
    /// the beginning.
    ///
    /// # Errors
    /// If it is not there.
    fn open_dense(&self) -> Result<DensePlan, NoDense>;

    /// Enqueues a product of halves, whose order of additions is nobody's promise.
    ///
    /// # Safety
    /// `product` names memory that is the caller's and stays until it has run.
    ///
    /// # Errors
    /// If it cannot be done, or [`Driver::open_dense`] gave nothing.
    unsafe fn multiply(&self, product: &DenseProduct) -> Result<(), DeviceError>;

    /// Waits for everything enqueued.
    ///
    /// # Errors
    /// If any of it failed.
    fn synchronize(&self) -> Result<(), DeviceError>;

    /// From now on launches are recorded instead of run, and nothing else can be asked for.
    ///
    /// # Errors
    /// If the device fails, or somebody records already.
    fn begin_recording(&self) -> Result<(), DeviceError>;

    /// What was recorded since; the recording ends whatever comes of it.
    ///
    /// # Errors
    /// If the device fails, or something was launched that cannot be recorded.
    fn end_recording(&self) -> Result<Self::Graph, DeviceError>;

    /// Enqueues what was recorded.
    ///
    /// # Safety
    /// The memory that the recorded launches touch is still there.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn replay(&self, graph: &Self::Graph) -> Result<(), DeviceError>;
}
