//! Holds a network's inputs and outputs against its contract.

use ort::value::{Outlet, TensorElementType, ValueType};

use crate::infer::contract::{Batch, Contract, GROUP_BUCKETS, Missing};

/// What a network may be told beside video and sound: which of the two is there.
pub(super) const PRESENT: &str = "present";

/// Checks names, types and sizes; tells whether there is the input `present`.
pub(super) fn check(contract: &Contract, inputs: &[Outlet], outputs: &[Outlet]) -> Result<bool, String> {
    let mut wanted = vec![("video", contract.video_shape(1))];
    wanted.extend(contract.sound_shape(1).map(|shape| ("sound", shape)));
    let has_present = inputs.iter().any(|input| input.name() == PRESENT);
    if has_present {
        wanted.push((PRESENT, vec![1, 2]));
    } else if contract.sound_len() != 0 && contract.sound.missing == Missing::Mask {
        return Err("`sound.missing` is \"mask\", but there is no input `present` to tell it".to_owned());
    }
    same(contract.batch, "input", inputs, &wanted)?;

    let mut wanted = vec![("logits", vec![1, 3])];
    wanted.extend(contract.outputs.group_size.map(|_| ("group_size", vec![1, GROUP_BUCKETS])));
    wanted.extend(contract.outputs.estimated().map(|estimate| (estimate.as_str(), vec![1, 1])));
    wanted.extend(contract.outputs.logits_video.then(|| ("logits_video", vec![1, 3])));
    wanted.extend(contract.outputs.logits_sound.then(|| ("logits_sound", vec![1, 3])));
    same(contract.batch, "output", outputs, &wanted)?;
    Ok(has_present)
}

/// Exactly the wanted tensors, no more and no fewer.
fn same(batch: Batch, kind: &str, found: &[Outlet], wanted: &[(&str, Vec<usize>)]) -> Result<(), String> {
    if let Some(extra) = found.iter().find(|outlet| wanted.iter().all(|(name, _)| *name != outlet.name())) {
        return Err(format!("it has an {kind} `{}`, which the contract does not allow", extra.name()));
    }
    for (name, shape) in wanted {
        let outlet = found.iter().find(|outlet| outlet.name() == *name);
        let outlet = outlet.ok_or_else(|| format!("it has no {kind} `{name}`"))?;
        let ValueType::Tensor { ty: TensorElementType::Float32, shape: dims, .. } = outlet.dtype() else {
            return Err(format!("its {kind} `{name}` is {}, not f32 numbers", outlet.dtype()));
        };
        let first = match batch {
            Batch::One => 1,
            Batch::Any => -1,
        };
        let sizes: Vec<_> = shape.iter().skip(1).map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        if dims.first() != Some(&first) || dims.get(1..) != Some(&sizes) {
            let of = |first: i64| if first < 0 { "any".to_owned() } else { first.to_string() };
            let listed = |dims: &[i64]| dims.iter().copied().map(of).collect::<Vec<_>>().join(", ");
            let wanted = [&[first], &sizes[..]].concat();
            return Err(format!("its {kind} `{name}` is [{}], not [{}]", listed(dims), listed(&wanted)));
        }
    }
    Ok(())
}
