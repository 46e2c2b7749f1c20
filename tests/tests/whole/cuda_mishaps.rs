//! What goes wrong with GPUs: too little memory, now and later, and a GPU that is lost while it computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use garrison_device::{Capture, DeviceError, KvDtype};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_device_cuda::{Build, CudaDevice, Emulator, HostRing, Mishap, Order, Sharded, SharedGpu};
use garrison_engine::{
    Engine, EngineConfig, Event, Execute, Failure, LocalExecutor, Request, Restarting, Stream,
};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_model::{LoadError, Model, ModelSummary, Target};
use garrison_testkit::{TinyModel, adapter, tiny_gguf};
use garrison_tokenizer::Tokenizer;
use garrison_types::{Sampling, StopConditions};

fn source() -> Source {
    Source::parse(tiny_gguf(&TinyModel { n_layers: 1, ..TinyModel::default() })).unwrap()
}

fn emulator() -> Emulator {
    Emulator::new(Build::Fast, Order::Forward).unwrap()
}

const CONFIG: EngineConfig = EngineConfig {
    max_seqs: 1,
    max_batch_tokens: 16,
    n_blocks: 5,
    context: 64,
    max_waiting: 4,
    max_waiting_per_client: 4,
    vocab: 512,
    prefix_cache: true,
    prompt_lookup: false,
    adapter_slots: 1,
    max_stall: None,
};

fn execute<B: Capture>(source: &Source, device: B) -> Result<LocalExecutor<B>, DeviceError> {
    let model = Model::load(source, &device, |_| {}).map_err(|e| match e {
        LoadError::Device(e) => e,
        other => panic!("{other}"),
    })?;
    LocalExecutor::new(Arc::new(device), model, &CONFIG, KvDtype::F16)
}

fn on_gpu(source: &Source, mishap: Mishap) -> Result<Box<dyn Execute>, DeviceError> {
    Ok(Box::new(execute(source, CudaDevice::new(emulator().with_mishap(mishap))?)?))
}

fn on_cpu(source: &Source) -> Result<Box<dyn Execute>, DeviceError> {
    let options = CpuOptions { threads: std::num::NonZeroUsize::MIN, isa: Isa::Scalar };
    Ok(Box::new(execute(source, CpuDevice::new(options)?)?))
}

fn start(source: &Source, executor: Box<dyn Execute>) -> Engine {
    let tokenizer = Tokenizer::new(&source.vocabulary().unwrap()).unwrap();
    Engine::start(executor, Arc::new(tokenizer), CONFIG).unwrap()
}

fn request(seed: u64) -> Request {
    let stop = StopConditions { max_tokens: 4, ignore_eos: true, ..StopConditions::default() };
    let sampling = Sampling { seed, ..Sampling::default() };
    Request { sampling, ..Request::new(format!("request {seed}"), vec![5, 9, 200, 31], stop) }
}

/// The tokens, or why there are no more.
fn read(mut stream: Stream) -> Result<Vec<u32>, Failure> {
    let mut tokens = Vec::new();
    while let Some(event) = stream.recv() {
        match event {
            Event::Token(token) => tokens.push(token.token),
            Event::Finished(_) => return Ok(tokens),
            Event::Failed(failure) => return Err(failure),
            _ => {}
        }
    }
    panic!("a stream ended without an end")
}

#[test]
fn whatever_cannot_be_allocated_at_load_is_an_error_that_names_it() {
    let source = source();
    let device = CudaDevice::new(emulator()).unwrap();
    let model = Model::load(&source, &device, |_| {}).unwrap();
    let device = Arc::new(device);
    LocalExecutor::new(Arc::clone(&device), model, &CONFIG, KvDtype::F16).unwrap();
    let all = device.driver().requests();
    assert!(all > 50, "{all}");
    // Every one would do; they are of a few kinds.
    for number in (0..all).step_by(7).chain([all - 1]) {
        let made = on_gpu(&source, Mishap::NoMemoryAt(number));
        match made.err().unwrap() {
            DeviceError::OutOfMemory { device, what, .. } => {
                assert!(device == "cuda:emulated" && !what.is_empty(), "{number}: {what}");
            }
            other => panic!("request {number} of {all}: {other}"),
        }
    }
}

#[test]
fn a_gpu_that_is_too_small_says_for_what() {
    let small = emulator().with_memory(300 << 10);
    let error = execute(&source(), CudaDevice::new(small).unwrap()).err().unwrap().to_string();
    assert!(error.contains("cuda:emulated has no") && error.contains("smaller"), "{error}");
}

#[test]
fn an_adapter_that_finds_no_memory_fails_alone() {
    let source = source();
    let device = CudaDevice::new(emulator()).unwrap();
    let requests = {
        let executor = execute(&source, device).unwrap();
        executor.device().driver().requests()
    };
    let engine = start(&source, on_gpu(&source, Mishap::NoMemoryAt(requests)).unwrap());
    let spec = ModelSummary::read(&source).unwrap().spec;
    let handle = engine.add_adapter(adapter(&spec, 2, &[Target::Q], 1)).unwrap();
    let adapted = Request { adapter: Some(handle), ..request(1) };
    let failed = read(engine.submit(adapted.clone()).unwrap());
    assert!(matches!(&failed, Err(Failure::Adapter(why)) if why.contains("an adapter")), "{failed:?}");
    assert_eq!(read(engine.submit(request(2)).unwrap()).unwrap().len(), 4);
    assert_eq!(read(engine.submit(adapted).unwrap()).unwrap().len(), 4, "later there is room");
}

#[test]
fn a_lost_gpu_is_started_again_and_gives_the_same_tokens() {
    let source = Arc::new(source());
    let whole = start(&source, on_gpu(&source, Mishap::None).unwrap());
    let expected: Vec<_> = (1..4).map(|seed| read(whole.submit(request(seed)).unwrap()).unwrap()).collect();
    // As many launches as loading takes, and some more: in the middle of an answer.
    let launches =
        execute(&source, CudaDevice::new(emulator()).unwrap()).unwrap().device().driver().launches();
    let restarts = Arc::new(AtomicU32::new(0));
    let (model, count) = (Arc::clone(&source), Arc::clone(&restarts));
    let make = move |number| {
        count.store(number, Ordering::SeqCst);
        // The first time it is not there yet.
        let mishap = if number == 1 { Mishap::LostAt(3) } else { Mishap::None };
        on_gpu(&model, mishap)
    };
    let first = on_gpu(&source, Mishap::LostAt(launches + 40)).unwrap();
    let engine = start(&source, Box::new(Restarting::new(first, Box::new(make))));
    let lost = read(engine.submit(request(1)).unwrap());
    assert!(matches!(&lost, Err(Failure::Device(why)) if why.contains("lost")), "{lost:?}");
    let lost = read(engine.submit(request(1)).unwrap());
    assert!(matches!(&lost, Err(Failure::Device(why)) if why.contains("lost")), "{lost:?}");
    for (seed, expected) in (1..4).zip(&expected) {
        assert_eq!(read(engine.submit(request(seed)).unwrap()).as_ref(), Ok(expected));
    }
    assert_eq!(restarts.load(Ordering::SeqCst), 2);
}

#[test]
fn models_on_one_gpu_are_lost_and_started_again_together() {
    let source = Arc::new(source());
    let gpu = Arc::new(SharedGpu::default());
    let launches =
        execute(&source, CudaDevice::new(emulator()).unwrap()).unwrap().device().driver().launches();
    let serve = |mishap: Mishap| {
        let make = {
            let (source, gpu) = (Arc::clone(&source), Arc::clone(&gpu));
            move |mishap| -> Result<Box<dyn Execute>, DeviceError> {
                let device = CudaDevice::new(emulator().with_mishap(mishap).on(&gpu))?;
                Ok(Box::new(execute(&source, device)?))
            }
        };
        let first = make(mishap).unwrap();
        start(&source, Box::new(Restarting::new(first, Box::new(move |_| make(Mishap::None)))))
    };
    let (one, other) = (serve(Mishap::LostAt(launches + 40)), serve(Mishap::None));
    let expected = read(other.submit(request(1)).unwrap()).unwrap();
    assert!(matches!(read(one.submit(request(1)).unwrap()), Err(Failure::Device(_))));
    // The first is there again before the other knows, which has lost its memory, too.
    assert_eq!(read(one.submit(request(1)).unwrap()).as_ref(), Ok(&expected));
    let lost = read(other.submit(request(1)).unwrap());
    assert!(matches!(&lost, Err(Failure::Device(why)) if why.contains("lost")), "{lost:?}");
    for engine in [&other, &one] {
        assert_eq!(read(engine.submit(request(1)).unwrap()).as_ref(), Ok(&expected));
    }
    assert_eq!(gpu.revivals(), 1);
}

#[test]
fn several_gpus_are_started_again_when_one_is_lost() {
    // Heads are too few for halves of blocks of 256.
    let tiny = TinyModel { n_layers: 1, mix: Mix::F16, ..TinyModel::default() };
    let source = Arc::new(Source::parse(tiny_gguf(&tiny)).unwrap());
    let pair = |mishap: Mishap| {
        let ranks = [emulator(), emulator().with_mishap(mishap)].map(|of| CudaDevice::new(of).unwrap());
        Sharded::new(ranks.into(), HostRing::default())
    };
    let launches = |device: &Sharded<Emulator, HostRing>| device.rank(1).driver().launches();
    let loaded = execute(&source, pair(Mishap::None).unwrap()).unwrap();
    let lost = Mishap::LostAt(launches(loaded.device()) + 40);
    let make = {
        let source = Arc::clone(&source);
        move |mishap| -> Result<Box<dyn Execute>, DeviceError> {
            Ok(Box::new(execute(&source, pair(mishap)?)?))
        }
    };
    let whole = start(&source, make(Mishap::None).unwrap());
    let expected: Vec<_> = (1..3).map(|seed| read(whole.submit(request(seed)).unwrap())).collect();
    let first = make(lost).unwrap();
    let engine = start(&source, Box::new(Restarting::new(first, Box::new(move |_| make(Mishap::None)))));
    let failed = read(engine.submit(request(1)).unwrap());
    assert!(matches!(&failed, Err(Failure::Device(why)) if why.contains("lost")), "{failed:?}");
    for (seed, expected) in (1..3).zip(&expected) {
        assert_eq!(&read(engine.submit(request(seed)).unwrap()), expected);
    }
}

#[test]
fn the_cpu_can_take_over() {
    let source = Arc::new(source());
    let launches =
        execute(&source, CudaDevice::new(emulator()).unwrap()).unwrap().device().driver().launches();
    let model = Arc::clone(&source);
    let first = on_gpu(&source, Mishap::LostAt(launches)).unwrap();
    let engine = start(&source, Box::new(Restarting::new(first, Box::new(move |_| on_cpu(&model)))));
    assert!(matches!(read(engine.submit(request(1)).unwrap()), Err(Failure::Device(_))));
    let cpu = start(&source, on_cpu(&source).unwrap());
    for seed in 1..3 {
        let expected = read(cpu.submit(request(seed)).unwrap());
        assert_eq!(read(engine.submit(request(seed)).unwrap()), expected);
    }
}
