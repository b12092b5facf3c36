//! Maps a foreign clock (a camera's, a sound card's) onto ours, slewed, and measures how fast it runs.
