//! Lowering of names: which variables and special registers a kernel reaches, and where they lie.

use crate::exec::code::dynamic_start;
use crate::exec::lower::frame::Frame;
use crate::exec::lower::{Lowered, Lowering};
use crate::lanes::Slot;
use crate::memory::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use crate::ptx::{Module, Opcode, Operand, Space, VariableRef};

/// The functions that a kernel reaches, itself first.
pub(in crate::exec) fn reached(module: &Module, entry: u32) -> Vec<u32> {
    let mut all = vec![entry];
    let mut next = 0;
    while let Some(&function) = all.get(next) {
        next += 1;
        for instruction in module.functions[function as usize].body.iter().flat_map(|b| &b.instructions) {
            if let (Opcode::Call, Some(&Operand::Function(callee))) = (instruction.opcode, instruction.operands.get(1))
                && !all.contains(&callee)
            {
                all.push(callee);
            }
        }
    }
    all
}

/// Every variable that an operand names.
fn variables_of(operand: &Operand, found: &mut Vec<VariableRef>) {
    match operand {
        Operand::Address(v, _) | Operand::Memory(crate::ptx::Base::Variable(v), _) => found.push(*v),
        Operand::Vector(all) => all.iter().for_each(|o| variables_of(o, found)),
        _ => {}
    }
}

impl<'m> Lowering<'m> {
    /// Places the shared variables that the kernel reaches, its own and the module's; dynamic ones come behind all.
    pub fn place_shared(&mut self, entry: u32) {
        let mut end = 0u64;
        let mut dynamic = Vec::new();
        for function in reached(self.module, entry) {
            let Some(body) = &self.module.functions[function as usize].body else { continue };
            for (i, variable) in body.variables.iter().enumerate().filter(|(_, v)| v.space == Space::Shared) {
                let at = end.next_multiple_of(variable.align);
                self.function_shared.insert((function, i as u32), at as u32);
                end = at + variable.bytes.unwrap_or(0);
            }
            let mut named = Vec::new();
            body.instructions.iter().flat_map(|i| &i.operands).for_each(|o| variables_of(o, &mut named));
            for variable in named {
                let VariableRef::Module(index) = variable else { continue };
                let declared = &self.module.variables[index as usize];
                if declared.space != Space::Shared || self.shared.contains_key(&variable) {
                    continue;
                }
                if let Some(bytes) = declared.bytes {
                    let at = end.next_multiple_of(declared.align);
                    self.shared.insert(variable, at as u32);
                    end = at + bytes;
                } else if !dynamic.contains(&variable) {
                    dynamic.push(variable);
                }
            }
        }
        // the assembler pads the static part where the dynamic one asks for more than its usual 16 bytes
        let align = |variable: &VariableRef| match *variable {
            VariableRef::Module(index) => self.module.variables[index as usize].align,
            _ => 1,
        };
        let widest = dynamic.iter().map(align).max().unwrap_or(1);
        if widest > 16 {
            end = end.next_multiple_of(widest);
        }
        self.static_shared = end;
        for &variable in &dynamic {
            self.shared.insert(variable, dynamic_start(end) as u32);
        }
        self.dynamic = dynamic;
    }

    /// Gives every special register that the kernel reads rows in front of all others, filled when a warp starts.
    pub fn place_specials(&mut self, entry: u32) {
        for function in reached(self.module, entry) {
            let body = self.module.functions[function as usize].body.iter();
            for operand in body.flat_map(|b| &b.instructions).flat_map(|i| &i.operands) {
                let &Operand::Special(special) = operand else { continue };
                if !self.special_rows.contains_key(&special) {
                    let slot = Slot::register(self.rows).of_rows(special.bits() / 32);
                    self.rows += special.bits() / 32;
                    self.specials.push((special, slot));
                    self.special_rows.insert(special, slot);
                }
            }
        }
    }

    /// Space and address of a variable there.
    pub fn address(&self, frame: &Frame<'m>, variable: VariableRef) -> Lowered<(Space, u64)> {
        let at = |all: &[u32], index: u32| u64::from(all.get(index as usize).copied().unwrap_or(0));
        Ok(match variable {
            VariableRef::Module(index) => {
                let declared = &self.module.variables[index as usize];
                match declared.space {
                    Space::Shared => (Space::Shared, u64::from(self.shared.get(&variable).copied().unwrap_or(0))),
                    space => (space, self.addresses[index as usize]),
                }
            }
            VariableRef::Local(index) => match frame.body.variables[index as usize].space {
                Space::Shared => (Space::Shared, at(&frame.variables, index)),
                _ => (Space::Local, at(&frame.variables, index)),
            },
            VariableRef::Parameter(index) if frame.is_entry => {
                let entry = &self.module.functions[frame.function as usize];
                (Space::Param, entry.parameters[index as usize].offset)
            }
            VariableRef::Parameter(index) => (Space::Local, at(&frame.parameters, index)),
            VariableRef::Result(index) => (Space::Local, at(&frame.results, index)),
        })
    }

    /// What `cvta` adds to an address of that space.
    pub fn window(&self, frame: &Frame<'m>, space: Space) -> u64 {
        match space {
            Space::Shared => SHARED_WINDOW,
            Space::Local => LOCAL_WINDOW,
            Space::Param if frame.is_entry => PARAMETER_WINDOW,
            Space::Param => LOCAL_WINDOW,
            Space::Const | Space::Global => 0,
        }
    }
}
