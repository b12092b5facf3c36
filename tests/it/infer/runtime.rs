//! Real networks on the real ONNX Runtime.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers outside #[test] are not covered by allow-…-in-tests"
)]

use std::path::{Path, PathBuf};

use edge_ger::{
    config::{FilePath, Integer, Model, NetworkFile, ProviderChoice, Providers},
    infer::{
        contract::Contract,
        runtime::{self, Answer, Error, NotFinite, Runtime, Session},
    },
    wire::record::Provider,
};

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.onnxruntime/libonnxruntime.so");

fn file(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(format!("{name}.onnx"))
}

fn model(name: &str, providers: &[ProviderChoice]) -> Model {
    Model {
        file: NetworkFile(file(name)),
        runtime_library: Some(FilePath(LIBRARY.into())),
        providers: Providers(providers.to_vec()),
        threads: Integer::new(1).unwrap(),
        cache_dir: Some(FilePath(std::env::temp_dir().join("edge-ger-test-engines"))),
    }
}

fn open_on(name: &str, providers: &[ProviderChoice]) -> Result<Session, Error> {
    Runtime::init(Some(Path::new(LIBRARY)))?;
    let (contract, found) = Contract::read(&file(name))?;
    Session::open(&model(name, providers), &contract, &found)
}

fn open(name: &str) -> Result<Session, Error> {
    open_on(name, &[ProviderChoice::Cpu])
}

/// Fills a batch with clips that differ, and answers.
fn answers(session: &mut Session, seeds: &[f32], heard: bool) -> Vec<Result<Answer, NotFinite>> {
    for (clip, seed) in session.batch(seeds.len()).zip(seeds) {
        clip.video.iter_mut().enumerate().for_each(|(i, number)| *number = (i as f32 * seed).sin());
        let sound = clip.sound.iter_mut().enumerate();
        sound.for_each(|(i, number)| *number = if heard { (i as f32 * seed).cos() } else { 0.0 });
        *clip.present = [1.0, if heard { 1.0 } else { 0.0 }];
    }
    session.run(seeds.len()).unwrap().to_vec()
}

#[track_caller]
fn refused(opened: Result<Session, Error>, words: &[&str]) {
    let error = opened.expect_err("it is wrong").to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

#[test]
fn a_network_that_keeps_its_contract_answers() {
    let mut session = open("good").unwrap();
    assert_eq!(session.provider(), Provider::Cpu);
    assert!(session.max_difference() <= 1e-3, "{}", session.max_difference());
    let answer = answers(&mut session, &[0.01], true)[0].unwrap();
    assert!(answer.group_size.is_some());
    assert!(answer.estimates[0].is_some_and(|width| 0.0 < width && width < 1.0), "{answer:?}");
    let other = answers(&mut session, &[0.37], true)[0].unwrap();
    assert_ne!(answer, other, "it looks at its inputs");
}

#[test]
fn three_clips_at_once_are_three_clips_one_by_one() {
    for name in ["good", "batch-one"] {
        let mut session = open(name).unwrap();
        let seeds = [0.01, 0.02, 0.37];
        let together = answers(&mut session, &seeds, true);
        assert_eq!(together.len(), 3);
        for (seed, together) in seeds.iter().zip(together) {
            let (together, alone) = (together.unwrap(), answers(&mut session, &[*seed], true)[0].unwrap());
            for (a, b) in together.logits.iter().zip(alone.logits) {
                assert!((a - b).abs() < 1e-4, "{name}: {together:?} {alone:?}");
            }
        }
    }
}

#[test]
fn many_clips_are_run_in_parts() {
    let mut session = open("good").unwrap();
    let seeds: Vec<f32> = (1..=19).map(|i| i as f32 * 0.01).collect();
    let together = answers(&mut session, &seeds, true);
    assert_eq!(together.len(), 19);
    let alone = answers(&mut session, &seeds[18..], true);
    assert!((together[18].unwrap().logits[0] - alone[0].unwrap().logits[0]).abs() < 1e-4);
}

#[test]
fn labels_are_put_into_their_order() {
    let plain = answers(&mut open("good").unwrap(), &[0.01], true)[0].unwrap().logits;
    // Its contract says negative, positive, neutral.
    let permuted = answers(&mut open("permuted").unwrap(), &[0.01], true)[0].unwrap().logits;
    assert_eq!(permuted, [plain[1], plain[2], plain[0]]);
}

#[test]
fn without_sound_a_network_may_answer_from_the_pictures() {
    let mut session = open("batch-one").unwrap();
    let heard = answers(&mut session, &[0.01, 0.3], true);
    let unheard = answers(&mut session, &[0.01, 0.3], false);
    for (heard, unheard) in heard.into_iter().zip(unheard) {
        let (heard, unheard) = (heard.unwrap(), unheard.unwrap());
        assert_ne!(heard.logits, unheard.logits);
        assert_eq!((heard.group_size, unheard.group_size), (None, None));
    }
}

#[test]
fn what_is_not_a_number_is_an_error_of_that_clip_alone() {
    let mut session = open("good").unwrap();
    let seeds = [0.01, 0.02];
    let good = answers(&mut session, &seeds, true);
    session.batch(2).next().unwrap().video[7] = f32::NAN;
    let bad = session.run(2).unwrap();
    assert_eq!(bad[0], Err(NotFinite));
    assert_eq!(bad[1], good[1]);
}

#[test]
fn a_network_that_breaks_its_contract_is_refused() {
    refused(open("golden-wrong"), &["golden-wrong.onnx", "cpu", "golden case is off by", "1e-3"]);
    refused(open("extra-output"), &["extra-output.onnx", "output `embedding`", "not allow"]);
    refused(open("dims-wrong"), &["dims-wrong.onnx", "`video`", "[any, 8, 3, 16, 16]", "[any, 5, 3, 16, 16]"]);
    refused(open("no-contract"), &["no-contract.onnx", "ger.contract", "export"]);
}

#[test]
fn a_provider_that_is_not_there_is_an_error_that_names_it() {
    for (choice, word) in [(ProviderChoice::Cuda, "cuda"), (ProviderChoice::TensorRt, "tensorrt")] {
        refused(open_on("good", &[choice]), &["good.onnx", word, "not enabled in this build", "model.providers"]);
        let session = open_on("good", &[choice, ProviderChoice::Cpu]).unwrap();
        assert_eq!(session.provider(), Provider::Cpu, "{word} is followed by the next rung");
    }
    refused(open_on("good", &[]), &["none is named"]);
}

#[test]
fn a_broken_graph_is_refused_with_its_name() {
    // The contract is whole, but the weights are not what the graph says.
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(file("good")).unwrap();
    let at = bytes.windows(6).position(|name| name == b"MatMul").unwrap();
    bytes[at..at + 6].copy_from_slice(b"NoSuch");
    let path = folder.path().join("broken.onnx");
    std::fs::write(&path, bytes).unwrap();
    let error = runtime::verify(&path, &model("good", &[ProviderChoice::Cpu])).unwrap_err().to_string();
    assert!(error.contains("broken.onnx") && error.contains("NoSuch"), "{error}");
}

#[test]
fn inspect_and_verify_tell_what_a_network_is() {
    let (contract, network_file) = Contract::read(&file("good")).unwrap();
    let card = contract.card(&network_file);
    for words in
        ["video [any, 5, 3, 16, 16]", "ger-mel-1", "positive, neutral, negative", "Apache-2.0 OR MIT", "0.0 MB"]
    {
        assert!(card.contains(words), "no {words:?} in:\n{card}");
    }
    let verified = runtime::verify(&file("good"), &model("golden-wrong", &[ProviderChoice::Cpu])).unwrap();
    assert_eq!((verified.provider, verified.tolerance), (Provider::Cpu, 1e-3));
    assert!(verified.max_difference <= 1e-3 && 0.0 < verified.seconds, "{verified:?}");
    let error = runtime::verify(&file("golden-wrong"), &model("good", &[ProviderChoice::Cpu])).unwrap_err();
    assert!(matches!(error, Error::Providers { .. }), "{error}");
}

#[test]
fn another_library_in_the_same_process_is_refused() {
    Runtime::init(Some(Path::new(LIBRARY))).unwrap();
    assert!(Runtime::info().is_some_and(|info| info.contains("ORT")));
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("libonnxruntime.so");
    std::fs::copy(LIBRARY, &copy).unwrap();
    let error = Runtime::init(Some(&copy)).unwrap_err();
    assert!(matches!(error, Error::OtherLibrary { .. }), "{error}");
}
