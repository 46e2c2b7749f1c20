//! What unfolding finds, what it leaves alone, and that its bounds hold.

mod finds;
