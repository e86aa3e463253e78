//! How many random cases a run makes, and from which seed: a fixed slice unless the environment
//! asks for more.

use super::state::Random;

/// Rounds per instruction form: `WARDIAN_HOSTEXEC_ROUNDS`, 12 by default.
pub(super) fn rounds() -> u32 {
    number("WARDIAN_HOSTEXEC_ROUNDS").map_or(12, |rounds| rounds as u32)
}

/// The generator of one test: `WARDIAN_HOSTEXEC_SEED`, 1 by default, told apart by `test`.
pub(super) fn generator(test: u64) -> Random {
    let seed = number("WARDIAN_HOSTEXEC_SEED").unwrap_or(1);
    println!("seed {seed}");
    Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ test)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
    )
}
