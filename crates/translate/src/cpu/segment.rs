//! Segment registers and descriptors (Intel SDM vol. 3, 3.4).

use wardian_engine::state::Segment;

/// Index of a segment register, in encoding order.
pub mod index {
    /// Extra segment.
    pub const ES: usize = 0;
    /// Code segment.
    pub const CS: usize = 1;
    /// Stack segment.
    pub const SS: usize = 2;
    /// Data segment.
    pub const DS: usize = 3;
    /// FS.
    pub const FS: usize = 4;
    /// GS.
    pub const GS: usize = 5;
    /// Local descriptor table.
    pub const LDTR: usize = 6;
    /// Task register.
    pub const TR: usize = 7;
    /// Not a register: base 0, for accesses that 64-bit mode does not segment.
    pub const FLAT: usize = 8;
}

/// System descriptor types (Intel SDM vol. 3, table 3-2).
pub mod system_type {
    /// 16-bit TSS, available.
    pub const TSS16_AVAILABLE: u32 = 1;
    /// Local descriptor table.
    pub const LDT: u32 = 2;
    /// 16-bit TSS, busy.
    pub const TSS16_BUSY: u32 = 3;
    /// 16-bit call gate.
    pub const CALL_GATE16: u32 = 4;
    /// Task gate.
    pub const TASK_GATE: u32 = 5;
    /// 16-bit interrupt gate.
    pub const INTERRUPT_GATE16: u32 = 6;
    /// 16-bit trap gate.
    pub const TRAP_GATE16: u32 = 7;
    /// 32/64-bit TSS, available.
    pub const TSS_AVAILABLE: u32 = 9;
    /// 32/64-bit TSS, busy.
    pub const TSS_BUSY: u32 = 11;
    /// 32/64-bit call gate.
    pub const CALL_GATE: u32 = 12;
    /// 32/64-bit interrupt gate.
    pub const INTERRUPT_GATE: u32 = 14;
    /// 32/64-bit trap gate.
    pub const TRAP_GATE: u32 = 15;
}

const PRESENT: u32 = 1 << 7;
const CODE_OR_DATA: u32 = 1 << 4;
const UNUSABLE: u32 = 1 << 16;
const GRANULARITY: u32 = 1 << 15;

/// Readings of a segment's attributes.
pub trait SegmentExt {
    /// Type field, bits 3:0.
    fn kind(&self) -> u32;
    /// Descriptor privilege level.
    fn dpl(&self) -> u8;
    /// Present bit.
    fn present(&self) -> bool;
    /// A code or data segment, not a system one.
    fn code_or_data(&self) -> bool;
    /// A code segment.
    fn code(&self) -> bool;
    /// A conforming code segment.
    fn conforming(&self) -> bool;
    /// Readable code, or any data segment.
    fn readable(&self) -> bool;
    /// A writable data segment.
    fn writable(&self) -> bool;
    /// A data segment whose valid offsets are above the limit.
    fn expand_down(&self) -> bool;
    /// The L bit: 64-bit code.
    fn long(&self) -> bool;
    /// The D/B bit.
    fn big(&self) -> bool;
    /// Loaded with a null selector.
    fn unusable(&self) -> bool;
    /// A segment register loaded with a null selector.
    fn null(selector: u16) -> Segment;
    /// What a code or data segment register holds in real mode after a load of `selector`.
    fn real_mode(self, selector: u16) -> Segment;
    /// From the eight bytes of a descriptor.
    fn from_descriptor(selector: u16, raw: u64) -> Segment;
}

impl SegmentExt for Segment {
    fn kind(&self) -> u32 {
        self.attributes & 15
    }
    fn dpl(&self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }
    fn present(&self) -> bool {
        self.attributes & PRESENT != 0
    }
    fn code_or_data(&self) -> bool {
        self.attributes & CODE_OR_DATA != 0
    }
    fn code(&self) -> bool {
        self.attributes & (CODE_OR_DATA | 8) == CODE_OR_DATA | 8
    }
    fn conforming(&self) -> bool {
        self.code() && self.attributes & 4 != 0
    }
    fn readable(&self) -> bool {
        self.code_or_data() && (!self.code() || self.attributes & 2 != 0)
    }
    fn writable(&self) -> bool {
        self.code_or_data() && !self.code() && self.attributes & 2 != 0
    }
    fn expand_down(&self) -> bool {
        self.code_or_data() && !self.code() && self.attributes & 4 != 0
    }
    fn long(&self) -> bool {
        self.attributes >> 13 & 1 != 0
    }
    fn big(&self) -> bool {
        self.attributes >> 14 & 1 != 0
    }
    fn unusable(&self) -> bool {
        self.attributes & UNUSABLE != 0
    }
    fn null(selector: u16) -> Segment {
        Segment {
            selector,
            base: 0,
            limit: 0,
            attributes: UNUSABLE,
        }
    }
    fn real_mode(self, selector: u16) -> Segment {
        // Limit and type stay what they were, which is what makes "unreal mode" work.
        Segment {
            selector,
            base: u64::from(selector) << 4,
            ..self
        }
    }
    fn from_descriptor(selector: u16, raw: u64) -> Segment {
        let attributes = (raw >> 40 & 0xf0ff) as u32;
        let limit = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
        Segment {
            selector,
            base: raw >> 16 & 0xff_ffff | raw >> 32 & 0xff00_0000,
            limit: if attributes & GRANULARITY != 0 {
                limit << 12 | 0xfff
            } else {
                limit
            },
            attributes,
        }
    }
}
