//! The forecast of decode: a law with few parameters, the measurements that it was fitted to, and
//! what a user's own receipts make of it.
//!
//! It says how long a token takes on a card whose bandwidth is known. It does not say whether a
//! model fits, and it knows nothing of weights that spill out of VRAM or are paged from disk.

mod card;
mod deviation;
pub mod evidence;
pub mod fit;
mod law;
mod outlook;
mod prefill;
pub mod prefill_fit;
mod ram;
mod shipped;
mod solve;
mod work;

pub use card::{Backend, Card};
pub use law::{Law, Rates};
pub use outlook::{Forecast, Outlook, Stated};
pub use prefill::{PrefillLaw, PrefillRates, PrefillSetting, PrefillWork, arithmetic_rate};
pub use ram::RamRate;
pub use shipped::{BackendFit, GenerationFit, PrefillFit, RegimeFit, Shipped};
pub use work::{CacheGrowth, DecodeSetting, Work, decode_weights};
