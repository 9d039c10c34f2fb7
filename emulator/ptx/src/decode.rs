//! From statements to instructions: finds the form whose modifiers and operands fit, or says what does not.

use std::collections::HashMap;

use super::body::RawBody;
use super::call;
use super::cursor::shortened;
use super::error::{PtxError, Result};
use super::expect::{Expect, Form, Slot};
use super::forms;
use super::instruction::{Guard, Instruction, RegisterClass};
use super::modifier::Modifiers;
use super::module::{Body, Function, Module};
use super::operand::Resolver;
use super::parser::{RawFunction, RawModule};
use super::statement::Statement;

/// Decodes every function of a module; `names` are its functions by name.
pub(super) fn module(raw: &RawModule<'_>, names: &HashMap<&str, u32>) -> Result<Module> {
    let functions = raw.functions.iter().map(|f| function(raw, f, names)).collect::<Result<_>>()?;
    Ok(Module { version: raw.version, target: raw.target, variables: raw.variables.clone(), functions })
}

fn function(module: &RawModule<'_>, raw: &RawFunction<'_>, names: &HashMap<&str, u32>) -> Result<Function> {
    let body = match &raw.body {
        Some(body) => Some(Body {
            registers: body.registers,
            variables: body.variables.clone(),
            instructions: body
                .statements
                .iter()
                .map(|statement| instruction(module, raw, body, names, statement))
                .collect::<Result<_>>()?,
        }),
        None => None,
    };
    Ok(Function {
        name: raw.name.to_string(),
        kind: raw.kind,
        linkage: raw.linkage,
        results: raw.results.clone(),
        parameters: raw.parameters.clone(),
        bounds: raw.bounds,
        body,
        line: raw.line,
    })
}

fn instruction(
    module: &RawModule<'_>,
    function: &RawFunction<'_>,
    body: &RawBody<'_>,
    names: &HashMap<&str, u32>,
    statement: &Statement<'_>,
) -> Result<Instruction> {
    let resolver = Resolver { module, function, body, functions: names, scope: statement.scope };
    decoded(&resolver, statement).map_err(|what| PtxError::Instruction {
        kernel: function.name.to_string(),
        line: statement.line,
        text: shortened(statement.text),
        what,
    })
}

fn decoded(resolver: &Resolver<'_, '_>, statement: &Statement<'_>) -> std::result::Result<Instruction, String> {
    let guard = match statement.guard {
        Some((name, negated)) => {
            let register = resolver.register(name)?.0;
            if register.class != RegisterClass::Pred {
                return Err(format!("`{name}` guards an instruction and is no predicate"));
            }
            Some(Guard { register, negated })
        }
        None => None,
    };
    let candidates = forms::starting_with(statement.words[0]);
    if candidates.is_empty() {
        return Err(format!("the instruction `{}` is not supported", shortened(statement.words[0])));
    }
    // Of several complaints, the one of the form that got furthest is the most helpful.
    let (mut furthest, mut complaint, mut counts) = (0, None, Vec::new());
    for form in candidates {
        let modifiers = match matched(form, &statement.words) {
            Ok(modifiers) => modifiers,
            Err(at) => {
                furthest = furthest.max(at);
                continue;
            }
        };
        if module_target(resolver) < form.sm {
            let what = format!("needs the target sm_{} and the module is for sm_{}", form.sm, module_target(resolver));
            complaint.get_or_insert(what);
            continue;
        }
        let operands = match form.operands {
            [Expect::Call] => call::operands(resolver, &statement.operands).map(Some),
            _ => resolver.operands(form, &modifiers, &statement.operands),
        };
        match operands {
            Ok(Some(operands)) => {
                return Ok(Instruction { opcode: form.opcode, modifiers, operands, guard, line: statement.line });
            }
            Ok(None) => counts.push(form.operands.len().to_string()),
            Err(what) => drop(complaint.get_or_insert(what)),
        }
    }
    if let Some(what) = complaint {
        return Err(what);
    }
    if !counts.is_empty() {
        return Err(format!("has {} operands where {} are expected", statement.operands.len(), counts.join(" or ")));
    }
    Err(match statement.words.get(furthest) {
        Some(word) => format!("the modifier `.{}` is not supported here", shortened(word)),
        None => "a modifier is missing, for instance the type or the rounding".into(),
    })
}

fn module_target(resolver: &Resolver<'_, '_>) -> u32 {
    resolver.module.target.sm
}

/// The number of words that the spelling of an opcode takes, if these start with it.
fn opcode_length(words: &[&str], spelling: &str) -> Option<usize> {
    let count = spelling.split('.').count();
    let matches = words.len() >= count && spelling.split('.').eq(words[..count].iter().copied());
    matches.then_some(count)
}

/// Reads the words as the form's modifiers: in any order, each slot at most once, those of one kind from the first slot
/// to the last. Fails with the index of the first word that does not fit, or the number of words if one is missing.
fn matched(form: &Form, words: &[&str]) -> std::result::Result<Modifiers, usize> {
    let start = opcode_length(words, form.opcode.spelling()).ok_or(1usize)?;
    let mut modifiers = Modifiers::default();
    let mut filled = 0u32;
    for (at, word) in words.iter().enumerate().skip(start) {
        // Kinds whose next slot this word does not fit, so that no later slot of the kind may take it.
        let mut passed = Vec::new();
        let leads = at == start && matches!(form.slots.first(), Some(Slot::First(_)));
        let fits = |(index, slot): &(usize, &Slot)| {
            let kind = slot.ordered();
            if filled >> index & 1 == 1
                || leads != matches!(slot, Slot::First(_))
                || kind.is_some_and(|k| passed.contains(&k))
            {
                return false;
            }
            let fits = slot.take(word).is_some();
            if !fits && slot.is_required() {
                passed.extend(kind);
            }
            fits
        };
        let (index, slot) = form.slots.iter().enumerate().find(fits).ok_or(at)?;
        filled |= 1 << index;
        if let Some(Some(modifier)) = slot.take(word)
            && !modifiers.add(modifier)
        {
            return Err(at);
        }
    }
    let complete = form.slots.iter().enumerate().all(|(index, slot)| filled >> index & 1 == 1 || !slot.is_required());
    if complete { Ok(modifiers) } else { Err(words.len()) }
}
