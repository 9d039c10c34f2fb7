//! Calls (section 9.7.12.5): direct ones only, checked against the callee; recursion is refused, so that the depth of
//! the call stack is known when the module loads.

use super::error::{PtxError, Result};
use super::instruction::{Operand, VariableRef};
use super::module::{Module, Parameter};
use super::opcode::Opcode;
use super::operand::{Checked, Resolver};
use super::statement::{RawOperand, Simple};
use super::types::Space;

/// Functions without code that the driver itself provides; the executor prints or traps for them.
const PROVIDED: &[&str] = &["vprintf", "__assertfail"];

/// `(results), function, (arguments)`, where either list may be missing.
pub(super) fn operands(resolver: &Resolver<'_, '_>, raw: &[RawOperand<'_>]) -> Checked<Box<[Operand]>> {
    let (results, rest) = match raw {
        [RawOperand::Group(results), rest @ ..] => (results.as_slice(), rest),
        _ => (&[][..], raw),
    };
    let (name, arguments) = match rest {
        [RawOperand::Simple(Simple::Name(name))] => (*name, &[][..]),
        [RawOperand::Simple(Simple::Name(name)), RawOperand::Group(arguments)] => (*name, arguments.as_slice()),
        _ => return Err("is no call of a named function; indirect calls are not supported".into()),
    };
    let Some(&index) = resolver.functions.get(name) else {
        return Err(match resolver.register(name) {
            Ok(_) => "calls through a register, and indirect calls are not supported".into(),
            Err(_) => format!("calls `{name}`, which the module does not declare"),
        });
    };
    let callee = &resolver.module.functions[index as usize];
    if callee.body.is_none() && !PROVIDED.contains(&name) {
        return Err(format!("calls `{name}`, which has no code here; of such functions only {PROVIDED:?} are known"));
    }
    if callee.kind == super::module::FunctionKind::Entry {
        return Err(format!("calls the kernel `{name}`; launches from the device are not supported"));
    }
    Ok(Box::new([
        Operand::Parameters(passed(resolver, results, &callee.results, "results")?),
        Operand::Function(index),
        Operand::Parameters(passed(resolver, arguments, &callee.parameters, "arguments")?),
    ]))
}

fn passed(
    resolver: &Resolver<'_, '_>,
    given: &[Simple<'_>],
    expected: &[Parameter],
    which: &str,
) -> Checked<Box<[VariableRef]>> {
    if given.len() != expected.len() {
        return Err(format!("has {} {which} where {} are expected", given.len(), expected.len()));
    }
    let each = given.iter().zip(expected).map(|(simple, parameter)| {
        let Simple::Name(name) = simple else { return Err("passes something that is no parameter".to_string()) };
        let Some((VariableRef::Local(index), Space::Param)) = resolver.variable(name) else {
            return Err(format!("passes `{name}`, which is no `.param` variable declared for this call"));
        };
        match resolver.body.variables[index as usize].bytes {
            Some(bytes) if bytes == parameter.bytes => Ok(VariableRef::Local(index)),
            _ => Err(format!("passes `{name}`, which is not as large as the callee's `{}`", parameter.name)),
        }
    });
    each.collect()
}

/// The functions that each function calls, with the line of the call.
fn calls(module: &Module) -> Vec<Vec<(usize, u32)>> {
    let of = |function: &super::module::Function| {
        let code = function.body.iter().flat_map(|b| &b.instructions).filter(|i| i.opcode == Opcode::Call);
        code.filter_map(|i| match i.operands.get(1) {
            Some(Operand::Function(index)) => Some((*index as usize, i.line)),
            _ => None,
        })
        .collect()
    };
    module.functions.iter().map(of).collect()
}

/// Walks the calls depth first, with its own stack: a chain of calls may be as long as the module.
pub(super) fn refuse_recursion(module: &Module) -> Result<()> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let calls = calls(module);
    let mut seen = vec![Seen::No; calls.len()];
    for start in 0..calls.len() {
        if seen[start] != Seen::No {
            continue;
        }
        seen[start] = Seen::Open;
        let mut stack = vec![(start, 0)];
        while let Some((function, next)) = stack.pop() {
            let Some(&(callee, line)) = calls[function].get(next) else {
                seen[function] = Seen::Done;
                continue;
            };
            stack.push((function, next + 1));
            match seen[callee] {
                Seen::Done => {}
                Seen::No => {
                    seen[callee] = Seen::Open;
                    stack.push((callee, 0));
                }
                Seen::Open => {
                    let name = |index: usize| module.functions[index].name.clone();
                    return Err(PtxError::Recursion { kernel: name(function), line, callee: name(callee) });
                }
            }
        }
    }
    Ok(())
}
