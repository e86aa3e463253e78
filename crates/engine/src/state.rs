//! A vCPU's architectural state, the same for every engine.

/// One segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Visible selector.
    pub selector: u16,
    /// Hidden base address.
    pub base: u64,
    /// Hidden limit in bytes (granularity already applied).
    pub limit: u32,
    /// Access rights in the format of Intel SDM vol. 3, 25.4.1: type 3:0, S 4, DPL 6:5, P 7,
    /// AVL 12, L 13, D/B 14, G 15, unusable 16.
    pub attributes: u32,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear base address.
    pub base: u64,
    /// Last valid byte offset.
    pub limit: u16,
}

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Executing instructions.
    #[default]
    Running,
    /// In HLT until an interrupt.
    Halted,
    /// After INIT, until a start-up IPI.
    WaitForSipi,
}

/// Everything about a vCPU that software can observe. Segments are in the order
/// ES CS SS DS FS GS LDTR TR; general registers in hardware encoding order (RAX RCX RDX RBX …).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VcpuState {
    /// RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Control registers.
    pub cr0: u64,
    /// Page-fault linear address.
    pub cr2: u64,
    /// Page-table root and PCID.
    pub cr3: u64,
    /// Feature enables.
    pub cr4: u64,
    /// Task priority (bits 3:0).
    pub cr8: u64,
    /// Extended feature enables.
    pub efer: u64,
    /// Enabled XSAVE components.
    pub xcr0: u64,
    /// ES CS SS DS FS GS LDTR TR.
    pub segments: [Segment; 8],
    /// Global descriptor table.
    pub gdtr: TableRegister,
    /// Interrupt descriptor table.
    pub idtr: TableRegister,
    /// DR0 DR1 DR2 DR3 DR6 DR7.
    pub dr: [u64; 6],
    /// Model-specific registers, by index.
    pub msrs: Vec<(u32, u64)>,
    /// x87, SSE and AVX state in the standard XSAVE format (Intel SDM vol. 1, 13.4), 832 bytes.
    pub xsave: Vec<u8>,
    /// Running, halted or waiting for SIPI.
    pub activity: Activity,
}
