//! A block as pieces that can be laid out anywhere, and the block at its place.

use iced_x86::InstructionInfoFactory;

use crate::encoding::Encoding;
use crate::operands::decode;
use crate::rules::Treatment;
use crate::state::{Mode, Starts};

/// Where a relative branch of a block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the instruction of this number; the block's length is its end.
    Inside(usize),
    /// To an address outside.
    Outside(u64),
}

/// One instruction, independent of its place.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) treatment: Treatment,
    /// The address of its RIP-relative operand.
    pub(super) operand: Option<u64>,
    /// Where it goes, if it is a relative branch.
    pub(super) target: Option<Target>,
}

/// Instructions in a row.
#[derive(Clone, Debug)]
pub struct Block {
    /// The address of the first.
    pub rip: u64,
    /// Each at its place.
    pub encodings: Vec<Encoding>,
    /// The bytes of all.
    pub bytes: Vec<u8>,
    /// Where they begin.
    pub starts: Starts,
    pieces: Vec<Piece>,
}

impl Block {
    /// The block at `rip`; `None` if a branch cannot reach its target from there.
    pub(super) fn lay_out(
        info: &mut InstructionInfoFactory,
        mut pieces: Vec<Piece>,
        rip: u64,
    ) -> Option<Self> {
        let mut addresses = vec![rip];
        let mut starts = Starts::default();
        let mut next = rip;
        for piece in &pieces {
            starts.push((next - rip) as usize);
            next += piece.bytes.len() as u64;
            addresses.push(next);
        }
        let mut encodings = Vec::with_capacity(pieces.len());
        for (number, piece) in pieces.iter_mut().enumerate() {
            let (at, next) = (addresses[number], addresses[number + 1]);
            let (_, constants) = decode(&piece.bytes, Mode::Long, at);
            if let Some(address) = piece.operand {
                let distance = address.wrapping_sub(next) as u32;
                let field = constants.displacement_offset();
                piece.bytes[field..field + 4].copy_from_slice(&distance.to_le_bytes());
            }
            if let Some(target) = piece.target {
                let address = match target {
                    Target::Inside(number) => addresses[number],
                    Target::Outside(address) => address,
                };
                let distance = address.wrapping_sub(next) as i64;
                let (field, size) = (constants.immediate_offset(), constants.immediate_size());
                let reach = 64 - 8 * size as u32;
                if distance << reach >> reach != distance {
                    return None;
                }
                piece.bytes[field..field + size].copy_from_slice(&distance.to_le_bytes()[..size]);
            }
            let (instruction, _) = decode(&piece.bytes, Mode::Long, at);
            let bytes = piece.bytes.clone();
            encodings.push(Encoding::new(info, bytes, at, instruction, piece.treatment));
        }
        let bytes: Vec<_> = encodings
            .iter()
            .map(|encoding| &encoding.bytes[..])
            .collect();
        Some(Self {
            rip,
            bytes: bytes.concat(),
            encodings,
            starts,
            pieces,
        })
    }

    /// The block without the instructions that `keep` has no bit for.
    pub(super) fn subset(&self, info: &mut InstructionInfoFactory, keep: u32) -> Option<Self> {
        let kept = |number: &usize| keep & 1 << number != 0;
        let before = |end: usize| (0..end).filter(kept).count();
        let pieces = (0..self.pieces.len()).filter(kept).map(|number| {
            let mut piece = self.pieces[number].clone();
            if let Some(Target::Inside(target)) = &mut piece.target {
                *target = before(*target);
            }
            piece
        });
        Self::lay_out(info, pieces.collect(), self.rip)
    }

    /// Where instruction `number` goes, if it is a relative branch.
    pub(super) fn target(&self, number: usize) -> Option<Target> {
        self.pieces[number].target
    }

    /// The address behind the last instruction.
    pub fn end(&self) -> u64 {
        self.rip + self.bytes.len() as u64
    }
}
