//! From a kernel's instructions to [`Code`]: calls are inlined (there is no recursion), names become rows and addresses.
//!
//! A called function's registers follow its caller's, so that functions called one after the other share rows. Its
//! parameters are the `.param` variables that the caller declared for the call; those and local variables lie in the
//! thread's local memory.

mod dependence;
mod frame;
mod intent;
mod memory;
mod operations;
pub(in crate::exec) mod registers;
mod uniform;
mod variables;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::counters::{Class, class_of};
use crate::exec::code::{Action, Code, Flow, Op};
use crate::exec::lower::frame::Frame;
use crate::lanes::{Row, Slot, WARP, Width};
use crate::load_error::LoadError;
use crate::ptx::{
    AtomicOp, Body, Flag, FunctionKind, Guard, Instruction, Modifiers, Module, Opcode, Operand, Register,
    RegisterClass, RegisterCounts, Space, SpecialRegister, VariableRef,
};
use crate::row::{self, Level};

/// Operations of a kernel after inlining; nvcc's largest kernels have some ten thousand.
const MAX_OPS: usize = 1 << 20;
/// Rows kept free for results that nobody wants: as many as the widest register takes.
const SINK_ROWS: u32 = 4;

/// A predicate that nobody writes; predicate 0 is the sink.
const NEVER: Slot = Slot::register(1);
const FIRST_PREDICATE: u32 = 2;
/// Rows, and predicates, that are no program's.
pub(in crate::exec) const FREE_SLOTS: [u32; 2] = [SINK_ROWS, FIRST_PREDICATE];

/// A refusal in words; the caller adds kernel, line and text.
pub(in crate::exec) type Lowered<T> = Result<T, String>;

/// Builds one kernel's code.
pub(in crate::exec) struct Lowering<'m> {
    pub module: &'m Module,
    /// Address of each module variable; those in shared memory get theirs by kernel.
    pub(in crate::exec) addresses: &'m [u64],
    level: Level,
    ops: Vec<Op>,
    classes: Vec<Class>,
    flows: Vec<Flow>,
    slots: Vec<Slot>,
    constants: Vec<Row>,
    known_constants: HashMap<(Width, u64), Slot>,
    pub(in crate::exec) specials: Vec<(SpecialRegister, Slot)>,
    pub(in crate::exec) special_rows: HashMap<SpecialRegister, Slot>,
    pub(in crate::exec) rows: u32,
    predicates: u32,
    pub(in crate::exec) shared: HashMap<VariableRef, u32>,
    pub(in crate::exec) function_shared: HashMap<(u32, u32), u32>,
    pub(in crate::exec) static_shared: u64,
    pub(in crate::exec) dynamic: Vec<VariableRef>,
    local_bytes: u64,
}

/// Lowers the kernel at this index of the module's functions.
pub(in crate::exec) fn kernel(
    module: &Module,
    index: u32,
    addresses: &[u64],
    source: &Arc<str>,
    level: Level,
) -> Result<Code, LoadError> {
    let mut lowering = Lowering {
        module,
        addresses,
        level,
        ops: Vec::new(),
        classes: Vec::new(),
        flows: Vec::new(),
        slots: Vec::new(),
        constants: Vec::new(),
        known_constants: HashMap::new(),
        specials: Vec::new(),
        special_rows: HashMap::new(),
        rows: SINK_ROWS,
        predicates: FIRST_PREDICATE,
        shared: HashMap::new(),
        function_shared: HashMap::new(),
        static_shared: 0,
        dynamic: Vec::new(),
        local_bytes: 0,
    };
    let refused = |(line, what): (u32, String)| LoadError::Refused {
        kernel: module.functions[index as usize].name.clone(),
        line,
        text: source.lines().nth(line as usize - 1).unwrap_or_default().trim().into(),
        what,
    };
    lowering.place_shared(index);
    lowering.place_specials(index);
    let first = lowering.rows;
    lowering.inline(index, (first, FIRST_PREDICATE, 0), Vec::new(), Vec::new()).map_err(refused)?;
    let order_dependent = crate::exec::lower::dependence::order_dependent(module, index);
    Ok(Code {
        ops: lowering.ops,
        level,
        classes: lowering.classes,
        flows: lowering.flows,
        steps: std::sync::OnceLock::new(),
        file: std::sync::OnceLock::new(),
        slots: lowering.slots,
        constants: lowering.constants.into(),
        rows: lowering.rows as usize,
        predicates: lowering.predicates as usize,
        specials: lowering.specials,
        static_shared: u32::try_from(lowering.static_shared).unwrap_or(u32::MAX),
        dynamic_shared: !lowering.dynamic.is_empty(),
        // The lanes' memories lie one after the other: each must start where the widest access, of 16 bytes, is aligned.
        local_bytes: u32::try_from(lowering.local_bytes).unwrap_or(u32::MAX),
        order_dependent,
        source: source.clone(),
    })
}

impl<'m> Lowering<'m> {
    /// Emits a function's code; `free` are the first row, predicate and local byte that no caller uses.
    fn inline(
        &mut self,
        function: u32,
        free: (u32, u32, u32),
        parameters: Vec<u32>,
        results: Vec<u32>,
    ) -> Result<(), (u32, String)> {
        let declared = &self.module.functions[function as usize];
        let body = declared.body.as_ref().ok_or_else(|| (declared.line, "has no code".to_string()))?;
        let is_entry = declared.kind == FunctionKind::Entry;
        let RegisterCounts { pred, b16, b32, b64, b128 } = body.registers;
        let too_large = |what: &str| (declared.line, format!("takes too much {what} after inlining"));
        let mut rows = [0; 4];
        let mut at = u64::from(free.0);
        for (start, (count, each)) in rows.iter_mut().zip([(b16, 1), (b32, 1), (b64, 2), (b128, 4)]) {
            *start = at as u32;
            at += u64::from(count) * each;
        }
        if at > 1 << 24 {
            return Err(too_large("registers"));
        }
        let end_rows = at as u32;
        let end_predicates = free.1 + pred;
        let Some((variables, local)) = self.local_variables(function, body, free.2) else {
            return Err(too_large("local memory"));
        };
        self.rows = self.rows.max(end_rows);
        self.predicates = self.predicates.max(end_predicates);
        self.local_bytes = self.local_bytes.max(local);
        let exchanges = body.instructions.iter().any(|i| i.modifiers.atomic == Some(AtomicOp::Exch));
        let read =
            if exchanges { crate::exec::lower::dependence::read_registers(&body.instructions) } else { HashSet::new() };
        let code = &body.instructions;
        let (guesses, deciding) = (intent::guesses(code), intent::deciding(code));
        let predicates = free.1;
        let frame = Frame {
            body,
            function,
            is_entry,
            rows,
            predicates,
            variables,
            parameters,
            results,
            read,
            guesses,
            deciding,
        };

        let first = self.ops.len();
        let mut starts = Vec::with_capacity(body.instructions.len() + 1);
        // Operations whose target is still an instruction's index.
        let mut open = Vec::new();
        for instruction in &body.instructions {
            starts.push(self.ops.len() as u32);
            let line = instruction.line;
            if self.ops.len() > MAX_OPS {
                return Err((line, format!("has more than {MAX_OPS} instructions after inlining its calls")));
            }
            let placed = self.ops.len();
            match instruction.opcode {
                Opcode::Call => {
                    // Lanes that the guard excludes go around the call.
                    let skip = instruction.guard.map(|guard| {
                        let inverted = Guard { negated: !guard.negated, ..guard };
                        self.push(Action::Branch(0), Some(frame.predicate(inverted)), &[], instruction)
                    });
                    self.call(&frame, instruction, (end_rows, end_predicates, local as u32))?;
                    if let Some(skip) = skip {
                        self.ops[skip].action = Action::Branch(self.ops.len() as u32);
                    }
                }
                Opcode::Ret if !is_entry => {
                    open.push(placed);
                    let end = body.instructions.len() as u32;
                    self.push(Action::Branch(end), frame.guard(instruction), &[], instruction);
                }
                _ => {
                    operations::lower(self, &frame, instruction).map_err(|what| (line, what))?;
                    if matches!(instruction.opcode, Opcode::Bra | Opcode::BrxIdx) {
                        open.push(placed);
                    }
                }
            }
        }
        starts.push(self.ops.len() as u32);
        if is_entry {
            let line = body.instructions.last().map_or(declared.line, |i| i.line);
            let at = self.slots.len() as u32;
            self.ops.push(Op { action: Action::Exit, guard: None, slots: (at, at), line });
            self.flows.push(Flow::default());
            let ret = Instruction {
                opcode: Opcode::Exit,
                modifiers: Modifiers::default(),
                operands: Box::default(),
                guard: None,
                line,
            };
            self.classes.push(class_of(&ret));
        }
        debug_assert!(open.iter().all(|&at| at >= first));
        for at in open {
            match &mut self.ops[at].action {
                Action::Branch(to) => *to = starts[*to as usize],
                Action::Table(all) => all.iter_mut().for_each(|to| *to = starts[*to as usize]),
                _ => {}
            }
        }
        Ok(())
    }

    /// Where a function's variables lie, those in local memory from `free` on, and where they end; none if they take too much.
    fn local_variables(&self, function: u32, body: &Body, free: u32) -> Option<(Vec<u32>, u64)> {
        let mut local = u64::from(free);
        let mut variables = Vec::with_capacity(body.variables.len());
        for (i, variable) in body.variables.iter().enumerate() {
            if variable.space == Space::Shared {
                variables.push(self.function_shared[&(function, i as u32)]);
                continue;
            }
            local = local.next_multiple_of(variable.align.max(1));
            variables.push(local as u32);
            local += variable.bytes.unwrap_or(0);
            if local > 1 << 24 {
                return None;
            }
        }
        Some((variables, local))
    }

    fn call(&mut self, frame: &Frame<'m>, call: &Instruction, free: (u32, u32, u32)) -> Result<(), (u32, String)> {
        let [Operand::Parameters(results), Operand::Function(callee), Operand::Parameters(arguments)] =
            &call.operands[..]
        else {
            return Err((call.line, "is a call of a form that is not supported".into()));
        };
        let places = |all: &[VariableRef]| -> Vec<u32> {
            let local = |v: &VariableRef| match v {
                VariableRef::Local(index) => frame.variables[*index as usize],
                _ => 0,
            };
            all.iter().map(local).collect()
        };
        let (results, arguments) = (places(results), places(arguments));
        let declared = &self.module.functions[*callee as usize];
        if declared.body.is_some() {
            return self.inline(*callee, free, arguments, results);
        }
        let action = match (declared.name.as_str(), &arguments[..]) {
            ("vprintf", &[format, arguments]) => Action::Print { format, arguments, result: results.first().copied() },
            ("__assertfail", &[message, file, line, function, _]) => Action::Assert([message, file, line, function]),
            (name, _) => return Err((call.line, format!("calls `{name}`, which has no code here"))),
        };
        self.push(action, None, &[], call);
        Ok(())
    }

    /// Appends an operation; gives its index.
    pub fn push(&mut self, action: Action, guard: Option<Slot>, slots: &[Slot], from: &Instruction) -> usize {
        let start = self.slots.len() as u32;
        self.slots.extend_from_slice(slots);
        self.ops.push(Op { action, guard, slots: (start, self.slots.len() as u32), line: from.line });
        self.classes.push(class_of(from));
        self.flows.push(flow(from));
        self.ops.len() - 1
    }

    /// The row function of an instruction, with its operands.
    pub fn row(&mut self, frame: &Frame<'m>, instruction: &Instruction) -> Lowered<Option<(row::RowFn, Vec<Slot>)>> {
        let Some(selected) = row::select(instruction, self.level) else { return Ok(None) };
        let mut slots = Vec::with_capacity(selected.operands.len());
        let mut widths = selected.operands.iter().copied();
        for operand in &instruction.operands {
            self.flatten(frame, operand, &mut widths, &mut slots)?;
        }
        if widths.next().is_some() {
            return Err("has fewer operands than its row function takes".into());
        }
        Ok(Some((selected.run, slots)))
    }

    fn flatten(
        &mut self,
        frame: &Frame<'m>,
        operand: &Operand,
        widths: &mut dyn Iterator<Item = Width>,
        slots: &mut Vec<Slot>,
    ) -> Lowered<()> {
        match operand {
            Operand::Vector(all) => all.iter().try_for_each(|o| self.flatten(frame, o, widths, slots)),
            Operand::Pair(first, predicate) => {
                // The widths of the result and of the predicate: both are registers, or the sink, and know theirs.
                widths.nth(1);
                slots.push(first.map_or(sink(), |r| frame.register(r)));
                slots.push(frame.register(*predicate));
                Ok(())
            }
            other => {
                let width = widths.next().ok_or("has more operands than its row function takes")?;
                slots.push(self.operand(frame, other, width)?);
                Ok(())
            }
        }
    }

    /// The slots of plain operands.
    pub fn plain(
        &mut self,
        frame: &Frame<'m>,
        operands: &[Operand],
        width: Width,
        slots: &mut Vec<Slot>,
    ) -> Lowered<()> {
        for operand in operands {
            slots.push(self.operand(frame, operand, width)?);
        }
        Ok(())
    }

    /// The slot of a plain operand, of this width if it is a constant.
    pub fn operand(&mut self, frame: &Frame<'m>, operand: &Operand, width: Width) -> Lowered<Slot> {
        Ok(match operand {
            Operand::Register(r) => frame.register(*r),
            Operand::Predicate(guard) => frame.predicate(*guard),
            Operand::Sink => sink(),
            Operand::Immediate(value) if width == Width::Pred => {
                if *value & 1 == 0 {
                    NEVER
                } else {
                    NEVER.negated()
                }
            }
            Operand::Immediate(value) => self.constant(width, *value),
            Operand::Special(SpecialRegister::WarpSize) => self.constant(width, WARP as u64),
            Operand::Special(special) => {
                *self.special_rows.get(special).ok_or("reads a special register that was not placed")?
            }
            Operand::Address(variable, offset) => {
                let address = self.address(frame, *variable)?.1.wrapping_add_signed(*offset);
                self.constant(width, address)
            }
            _ => return Err("has an operand of a kind that is not supported here".into()),
        })
    }

    /// A row, or two, with one value in every lane.
    pub fn constant(&mut self, width: Width, value: u64) -> Slot {
        let value = if width == Width::W64 { value } else { value & 0xffff_ffff };
        if let Some(&slot) = self.known_constants.get(&(width, value)) {
            return slot;
        }
        let slot = Slot::constant(self.constants.len() as u32);
        if width == Width::W64 {
            let both: [Row; 2] = bytemuck::cast([value; WARP]);
            self.constants.extend(both);
        } else {
            self.constants.push(Row([value as u32; WARP]));
        }
        self.known_constants.insert((width, value), slot);
        slot
    }

    pub fn level(&self) -> Level {
        self.level
    }
}

/// See [`Flow`].
fn flow(i: &Instruction) -> Flow {
    fn slots(operand: &Operand, each: &mut dyn FnMut(bool)) {
        let is_predicate = |r: &Register| r.class == RegisterClass::Pred;
        match operand {
            Operand::Vector(all) => all.iter().for_each(|o| slots(o, each)),
            Operand::Pair(first, second) => {
                each(first.as_ref().is_some_and(is_predicate));
                each(is_predicate(second));
            }
            Operand::Register(r) => each(is_predicate(r)),
            Operand::Predicate(_) => each(true),
            _ => each(false),
        }
    }
    let carries = i.modifiers.has(Flag::Cc) || matches!(i.opcode, Opcode::Addc | Opcode::Subc | Opcode::Madc);
    let mut flow = Flow { results: 0, predicates: 0, carries, selects: i.opcode == Opcode::Selp };
    let (written, mut count) = (registers::destinations(i), 0u8);
    for (place, operand) in i.operands.iter().enumerate() {
        slots(operand, &mut |is_predicate| {
            flow.predicates |= u32::from(is_predicate).checked_shl(count.into()).unwrap_or(0);
            count += 1;
        });
        if place < written {
            flow.results = count;
        }
    }
    flow
}

/// A register for results that nobody wants.
pub(in crate::exec) fn sink() -> Slot {
    Slot::register(0)
}
