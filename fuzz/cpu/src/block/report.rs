//! A block and what came of it, as text.

use core::fmt::Write as _;

use super::layout::Block;
use crate::report::disassembly;
use crate::state::Case;

/// The instructions, one a line.
pub(super) fn listing(block: &Block) -> String {
    block
        .encodings
        .iter()
        .fold(String::new(), |mut text, encoding| {
            let line = disassembly(&encoding.instruction, &encoding.bytes);
            let _ = writeln!(text, "    {:x}  {line}", encoding.rip);
            text
        })
}

/// The block and what it starts from.
pub(super) fn start(block: &Block, case: &Case) -> String {
    listing(block) + &crate::report::inputs(case)
}

/// The numbers of the instructions in `keep`, as the command line takes them.
pub(super) fn numbers(keep: u32) -> String {
    let numbers = (0..u32::BITS).filter(|number| keep & 1 << number != 0);
    numbers
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(",")
}
