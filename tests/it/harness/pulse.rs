//! A private PulseAudio with a null sink as the microphone.
