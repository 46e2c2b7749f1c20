//! Load on a server, and a record of each request.

mod ahead;
mod attempt;
mod client;
mod event;
mod files;
mod fold;
mod info;
mod plan;
mod pulse;
mod run;
mod socket;
mod sse;
mod target;
mod urgent;

pub use fold::Length;
pub use info::{Info, InfoError};
pub use plan::{Arrivals, CoolDown, Extent, Limits, Load, MAX_REQUESTS, Plan};
pub use pulse::{Pulse, PulseReading};
pub use run::{Ending, Finished, Interrupt, Observer, Progress, RunError, Tokens, Workload, run};
pub use target::{BadCertificates, BadUrl, Endpoint, Target};
