//! The engine.
mod caller;
mod checks;
mod hands;
mod trial;
mod work;
pub use caller::*;
pub use checks::*;
pub use hands::*;
pub use trial::*;
pub use work::*;
