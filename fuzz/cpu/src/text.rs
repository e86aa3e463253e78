//! What the code window holds while a case runs.

use crate::frame::labels;
use crate::layout::USER_CS_64;
use crate::state::{Case, INSTRUCTIONS_MAX, Mode};

/// What fills the code window: a branch that lands on it ends the case.
pub(crate) const BREAKPOINT: u8 = 0xcc;

const INSTRUCTION_MAX: usize = 15;
/// Length of the text of every case: its instructions and the longer of the two jumps.
pub(crate) const TEXT_LEN: usize = INSTRUCTIONS_MAX * INSTRUCTION_MAX + 8;

/// The instructions and, behind them, the host's way back. They can read it as data, so the subject
/// gets the same text.
pub(crate) fn text(case: &Case) -> [u8; TEXT_LEN] {
    let mut text = [BREAKPOINT; TEXT_LEN];
    let length = case.bytes.len();
    let exit = labels().exit;
    text[..length].copy_from_slice(&case.bytes);
    match case.mode {
        Mode::Long => {
            // jmp rel32
            let distance = exit.wrapping_sub(case.next_rip() + 5) as u32;
            text[length] = 0xe9;
            text[length + 1..length + 5].copy_from_slice(&distance.to_le_bytes());
        }
        Mode::Compatibility => {
            // jmp far ptr16:32, back to 64-bit code
            text[length] = 0xea;
            text[length + 1..length + 5].copy_from_slice(&(exit as u32).to_le_bytes());
            text[length + 5..length + 7].copy_from_slice(&USER_CS_64.to_le_bytes());
        }
    }
    text
}
