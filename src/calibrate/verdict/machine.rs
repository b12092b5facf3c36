//! This machine's part, and what comes out.

use super::{
    Item, Section, View,
    stream::{machine, stream},
};
use crate::{
    calibrate::{bounds, grade::Grade},
    config::ProviderChoice,
    faults,
    wire::record::{Provider, Withheld},
};

/// Reasons that the installer can do something about here. The others are starting and honest answers; and a camera that
/// is away is judged by its connection and its outages.
const TECHNICAL: &[Withheld] = &[
    Withheld::VideoGap,
    Withheld::Damaged,
    Withheld::Frozen,
    Withheld::Dark,
    Withheld::FormatChange,
    Withheld::SoundMissing,
    Withheld::Overload,
    Withheld::ModelInvalid,
];

pub(super) fn items(view: &View<'_>) -> Vec<Item> {
    vec![inference(view), latency(view), headroom(view)]
}

pub(super) fn readings(view: &View<'_>) -> Vec<Item> {
    vec![given(view), confidence(view), group(view)]
}

fn inference(view: &View<'_>) -> Item {
    let hop_ms = view.facts.hop_s * 1000.0;
    let bound = bounds::INFERENCE_OF_HOP.times(hop_ms);
    let item = Item::new(Section::Machine, "inference", "inference").should_be(bound.words("ms"));
    let Some(vital) = view.seen.vital.filter(|it| it.provider != Provider::None && 0 < it.inference_us) else {
        return item.is("it has not run yet");
    };
    let ms = f64::from(vital.inference_us) / 1000.0;
    let wanted = view.facts.providers.first().map_or(Provider::Cpu, rung);
    let (grade, cure) = match bound.grade(ms) {
        Grade::Pass if wanted != vital.provider => {
            let cure = format!(
                "model.providers asks for {} first, which does not work here: the log has a line `execution provider \
                 refused`",
                wanted.as_str()
            );
            (Grade::Warn, cure)
        }
        grade => (grade, "a longer reading.hop_s, fewer cameras, a smaller network, or a GPU".to_owned()),
    };
    item.measured(ms, "ms").is(format!("{ms:.1} ms on {}", vital.provider.as_str())).graded(grade, cure)
}

fn rung(choice: &ProviderChoice) -> Provider {
    match choice {
        ProviderChoice::TensorRt => Provider::TensorRt,
        ProviderChoice::Cuda => Provider::Cuda,
        ProviderChoice::Cpu => Provider::Cpu,
    }
}

fn latency(view: &View<'_>) -> Item {
    let bound = bounds::LATENCY_OF_HOP.times(view.facts.hop_s * 1000.0);
    let item = Item::new(Section::Machine, "latency", "latency").should_be(bound.words("ms"));
    let tally = &view.seen.latency_ms;
    let (Some(median), Some(worst)) = (tally.quantile(0.5), tally.max()) else { return item };
    let cure = "this machine is slow or busy: what else runs on it? fewer cameras, a smaller network, or a GPU";
    item.measured(f64::from(median), "ms")
        .is(format!("median {median} ms, worst {worst}"))
        .graded(bound.grade(f64::from(median)), cure)
}

fn headroom(view: &View<'_>) -> Item {
    let cameras = view.facts.cameras.len();
    let item =
        Item::new(Section::Machine, "headroom", "headroom").should_be(format!("more than {cameras} such cameras"));
    let vital = view.seen.online();
    let Some((stream, machine)) = vital.and_then(|it| stream(view, it).zip(machine(view, it))) else { return item };
    let carried = stream.carried(&machine);
    let grade = match usize::try_from(carried).unwrap_or(usize::MAX) {
        fewer if fewer < cameras => Grade::Fail,
        same if same == cameras => Grade::Warn,
        _ => Grade::Pass,
    };
    let value = match carried {
        0 => "not even one such camera".to_owned(),
        1 => "carries 1 such camera".to_owned(),
        more => format!("carries {more} such cameras"),
    };
    let cure = "little room: key frames every second, a substream, a longer reading.hop_s, a smaller network, or a GPU";
    item.measured(f64::from(carried), "cameras").is(value).graded(grade, cure)
}

fn given(view: &View<'_>) -> Item {
    let seen = view.seen;
    let item =
        Item::new(Section::Readings, "readings", "readings").should_be(bounds::WITHHELD_PERCENT.words("% withheld"));
    let idle = u64::from(seen.withheld_for(&[Withheld::Starting, Withheld::Paused, Withheld::CameraOffline]));
    let counted = seen.slots - seen.tested - idle;
    if counted == 0 {
        return item;
    }
    let technical = seen.withheld_for(TECHNICAL);
    let percent = 100.0 * f64::from(technical) / counted as f64;
    let labelled: u32 = seen.labels.iter().sum();
    let withheld: Vec<_> = seen.withheld.iter().map(|(reason, count)| format!("{count} {}", reason.as_str())).collect();
    let mut value = format!("{labelled} of {} labelled", seen.slots - seen.tested);
    if !withheld.is_empty() {
        value = format!("{value}; {}", withheld.join(", "));
    }
    let worst =
        TECHNICAL.iter().max_by_key(|it| seen.withheld.get(it)).map_or("", |reason| faults::withheld(*reason).cure);
    item.measured(percent, "%").is(value).graded(bounds::WITHHELD_PERCENT.grade(percent), worst)
}

fn confidence(view: &View<'_>) -> Item {
    let seen = view.seen;
    let item =
        Item::new(Section::Readings, "confidence", "confidence").should_be(bounds::UNSURE_PERCENT.words("% not sure"));
    let Some(mean) = seen.confidence.mean() else { return item.is("the network has not answered yet") };
    let unsure = seen.withheld_for(&[Withheld::LowConfidence]);
    let answered = unsure + seen.labels.iter().sum::<u32>();
    let percent = 100.0 * f64::from(unsure) / f64::from(answered.max(1));
    let stated = match view.facts.network.calibration_error {
        Some(error) => format!("; calibration error {error:.3} by its card"),
        None => String::new(),
    };
    let value = format!("{:.2} on average, {unsure} of {answered} not sure{stated}", mean / 10_000.0);
    let cure = "the network is seldom sure here: light, focus, people's size; or the place is unlike its training";
    item.measured(percent, "%").is(value).graded(bounds::UNSURE_PERCENT.grade(percent), cure)
}

fn group(view: &View<'_>) -> Item {
    let seen = view.seen;
    let item = Item::new(Section::Readings, "group", "group")
        .should_be(format!("{} people or more (reading.min_group)", view.facts.min_group));
    if !view.facts.network.estimates_group {
        return item.is("this network does not estimate it");
    }
    let Some(at_least) = seen.reading.and_then(|it| it.group_at_least) else { return item };
    let too_few = seen.withheld_for(&[Withheld::TooFewPeople]);
    let value = format!("{at_least} or more now; too few in {too_few} of {} readings", seen.slots);
    let item = item.measured(f64::from(at_least), "people").is(value);
    // An installer alone is no group, and no fault.
    if seen.labels.iter().sum::<u32>() == 0 { item } else { item.graded(Grade::Pass, "") }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{grades, item},
        *,
    };
    use crate::calibrate::{facts::Facts, observations::Observations};

    #[test]
    fn the_machine_is_judged_at_its_bounds() {
        for (us, grade) in [
            (0, Grade::Unknown),
            (3_500_000, Grade::Pass),
            (3_500_001, Grade::Warn),
            (5_000_000, Grade::Warn),
            (5_000_001, Grade::Fail),
        ] {
            grades("inference", grade, |seen, _| seen.vital.as_mut().unwrap().inference_us = us);
        }
        for (ms, grade) in [(2500, Grade::Pass), (2501, Grade::Warn), (5000, Grade::Warn), (5001, Grade::Fail)] {
            grades("latency", grade, |seen, _| {
                seen.latency_ms = crate::calibrate::history::Tally::default();
                seen.latency_ms.add(ms);
            });
        }
    }

    #[test]
    fn another_rung_than_the_one_asked_for_is_told() {
        let fallen = item("inference", |_, facts| facts.providers = vec![ProviderChoice::Cuda, ProviderChoice::Cpu]);
        assert_eq!(fallen.grade, Grade::Warn);
        assert!(fallen.cure.contains("asks for cuda first"), "{}", fallen.cure);
    }

    #[test]
    fn headroom_counts_the_cameras_that_there_are() {
        let cameras = |count: usize| {
            move |seen: &mut Observations, facts: &mut Facts| {
                // 1.4 cores of 0.009 for decoding and 0.69 for the network: two cameras.
                seen.vital.as_mut().unwrap().inference_us = 1_725_000;
                facts.cameras = vec![facts.cameras[0].clone(); count];
            }
        };
        for (count, grade) in [(1, Grade::Pass), (2, Grade::Warn), (3, Grade::Fail)] {
            grades("headroom", grade, cameras(count));
        }
        assert_eq!(item("headroom", cameras(1)).value, "carries 2 such cameras");
        grades("headroom", Grade::Unknown, |seen, _| seen.vital.as_mut().unwrap().decode_us = 0);
    }

    #[test]
    fn readings_are_judged_by_what_can_be_cured() {
        let withheld = |reason, count| {
            move |seen: &mut Observations, _: &mut Facts| {
                (seen.slots, seen.labels) = (100, [100 - count, 0, 0]);
                seen.withheld = [(reason, count)].into();
            }
        };
        for (count, grade) in [(10, Grade::Pass), (11, Grade::Warn), (50, Grade::Warn), (51, Grade::Fail)] {
            grades("readings", grade, withheld(Withheld::VideoGap, count));
        }
        grades("readings", Grade::Pass, withheld(Withheld::TooFewPeople, 90));
        grades("readings", Grade::Unknown, withheld(Withheld::Starting, 100));
        for (count, grade) in [(50, Grade::Pass), (51, Grade::Warn)] {
            grades("confidence", grade, withheld(Withheld::LowConfidence, count));
        }
        let gap = item("readings", withheld(Withheld::VideoGap, 60));
        assert_eq!(gap.value, "40 of 100 labelled; 60 video_gap");
        assert!(gap.cure.contains("key-frame distance"), "{}", gap.cure);
        grades("group", Grade::Unknown, withheld(Withheld::TooFewPeople, 100));
        grades("group", Grade::Pass, withheld(Withheld::TooFewPeople, 99));
    }
}
