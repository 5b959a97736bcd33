// ---- Sound. A note is one or two oscillators through a filter and an envelope; each family of
// General MIDI programs has its own: harmonics (or wave); attack, decay (to sustain) and release in
// seconds; bright: the filter in multiples of the note's frequency, from and to.
// prettier-ignore
const FAMILIES = [
  // piano
  {harmonics: [1, 0.5, 0.3, 0.2, 0.12, 0.09, 0.06, 0.03], attack: 0.003, decay: 1.7, sustain: 0,
   release: 0.16, bright: [9, 2.2], gain: 1},
  // mallets, bells
  {harmonics: [1, 0, 0, 0.3, 0, 0, 0, 0, 0, 0.1], attack: 0.001, decay: 0.9, sustain: 0, release:
   0.5, bright: [14, 6], gain: 0.8},
  // organ
  {harmonics: [1, 0.8, 0.5, 0.35, 0, 0.25, 0, 0.2], attack: 0.012, decay: 0.1, sustain: 0.9,
   release: 0.07, bright: [10, 10], gain: 0.45},
  // guitar
  {harmonics: [1, 0.7, 0.5, 0.36, 0.25, 0.18, 0.13, 0.1, 0.07], attack: 0.002, decay: 0.95,
   sustain: 0, release: 0.1, bright: [9, 1.4], gain: 0.95},
  // bass
  {harmonics: [1, 0.6, 0.3, 0.15, 0.08], attack: 0.004, decay: 0.9, sustain: 0.2, release: 0.07,
   bright: [7, 2], gain: 1.15},
  // strings
  {wave: 'sawtooth', attack: 0.06, decay: 0.2, sustain: 0.8, release: 0.16, bright: [4, 4],
   detune: 5, vibrato: 7, gain: 0.36},
  // ensemble, voices
  {wave: 'sawtooth', attack: 0.12, decay: 0.3, sustain: 0.85, release: 0.28, bright: [3.2, 3.2],
   detune: 10, gain: 0.33},
  // brass
  {wave: 'sawtooth', attack: 0.035, decay: 0.15, sustain: 0.75, release: 0.1, bright: [1.5, 4.5],
   opens: true, gain: 0.38},
  // reeds
  {harmonics: [1, 0.12, 0.62, 0.1, 0.36, 0.06, 0.2, 0.05, 0.1], attack: 0.03, decay: 0.1, sustain:
   0.85, release: 0.08, bright: [7, 6], vibrato: 5, gain: 0.5},
  // pipes
  {harmonics: [1, 0.2, 0.08, 0.03], attack: 0.045, decay: 0.1, sustain: 0.88, release: 0.1,
   bright: [6, 6], vibrato: 8, breath: 0.05, gain: 0.75},
  // synth lead
  {wave: 'square', attack: 0.008, decay: 0.2, sustain: 0.65, release: 0.08, bright: [6, 4],
   detune: 6, gain: 0.25},
  // synth pad
  {wave: 'sawtooth', attack: 0.3, decay: 0.4, sustain: 0.8, release: 0.6, bright: [2.2, 3],
   detune: 12, opens: true, gain: 0.3},
  // synth effects
  {wave: 'triangle', attack: 0.15, decay: 0.6, sustain: 0.6, release: 0.7, bright: [5, 3], detune:
   9, gain: 0.6},
  // plucked of the world
  {harmonics: [1, 0.8, 0.65, 0.5, 0.4, 0.3, 0.22, 0.16, 0.1], attack: 0.002, decay: 0.6, sustain:
   0, release: 0.08, bright: [12, 2], gain: 0.9},
  // percussive
  {harmonics: [1, 0, 0.4, 0, 0, 0.25], attack: 0.001, decay: 0.35, sustain: 0, release: 0.15,
   bright: [12, 3], gain: 0.9},
  // sound effects
  {wave: 'triangle', attack: 0.02, decay: 0.5, sustain: 0.2, release: 0.3, bright: [6, 2], breath:
   0.25, gain: 0.5},
];
const SPECIAL = {
  45: FAMILIES[3],
  46: FAMILIES[3],
  47: {...FAMILIES[4], sustain: 0, decay: 0.6},
  109: {...FAMILIES[8], vibrato: 0},
  110: FAMILIES[5],
  111: FAMILIES[8],
};

let audio = null;
function startAudio() {
  if (audio) return audio.context.resume();
  const context = new AudioContext(),
    master = context.createGain(),
    compressor = context.createDynamicsCompressor(),
    room = context.createConvolver(),
    wet = context.createGain();
  const rate = context.sampleRate,
    hall = context.createBuffer(2, rate * 1.6, rate),
    noise = context.createBuffer(1, rate, rate);
  for (let channel = 0; channel < 2; channel++) {
    const samples = hall.getChannelData(channel);
    for (let i = 0; i < samples.length; i++)
      samples[i] =
        (Math.random() * 2 - 1) * Math.exp((-i / rate) * 4.2) * Math.min(1, (i / rate) * 60);
  }
  const samples = noise.getChannelData(0);
  for (let i = 0; i < samples.length; i++) samples[i] = Math.random() * 2 - 1;
  room.buffer = hall;
  wet.gain.value = 0.16;
  master.connect(compressor).connect(context.destination);
  master.connect(room).connect(wet).connect(compressor);
  audio = {context, master, noise, waves: new Map()};
  setVolume();
  return context.resume();
}
const setVolume = () => {
  if (audio) audio.master.gain.value = ($('volume').value / 100) ** 2 * 0.9;
};

function waveOf(harmonics) {
  if (!audio.waves.has(harmonics))
    audio.waves.set(
      harmonics,
      audio.context.createPeriodicWave(
        new Float32Array([0, ...harmonics.map(() => 0)]),
        new Float32Array([0, ...harmonics]),
      ),
    );
  return audio.waves.get(harmonics);
}

function playNote(program, pitch, at, duration, loudness, out) {
  const family = SPECIAL[program] || FAMILIES[program >> 3],
    context = audio.context,
    frequency = 440 * 2 ** ((pitch - 69) / 12);
  const decay =
    family.decay *
    (family.sustain ? 1 : Math.min(2, Math.max(0.35, (60 / Math.max(pitch, 20)) ** 1.5)));
  const held = Math.max(at + duration - 0.01, at + family.attack + 0.01),
    end = held + family.release * 4;
  const peak =
    loudness * family.gain * 0.22 * Math.min(1.25, Math.max(0.6, 1.25 - (pitch - 45) / 110));
  const envelope = context.createGain(),
    filter = context.createBiquadFilter(),
    nodes = [];
  envelope.gain.setValueAtTime(0, at);
  envelope.gain.linearRampToValueAtTime(peak, at + family.attack);
  envelope.gain.setTargetAtTime(peak * family.sustain, at + family.attack, decay / 2.5);
  envelope.gain.setTargetAtTime(0, held, family.release / 2.5);
  const [from, to] = family.bright.map(times => Math.min(times * frequency + 200, 17000));
  filter.type = 'lowpass';
  filter.Q.value = 0.4;
  filter.frequency.setValueAtTime(from, at);
  filter.frequency.setTargetAtTime(to, at, family.opens ? family.attack : decay / 3);
  for (const cents of family.detune ? [-family.detune, family.detune] : [0]) {
    const oscillator = context.createOscillator();
    family.wave
      ? (oscillator.type = family.wave)
      : oscillator.setPeriodicWave(waveOf(family.harmonics));
    oscillator.frequency.value = frequency;
    oscillator.detune.value = cents;
    oscillator.connect(filter);
    nodes.push(oscillator);
  }
  if (family.vibrato && duration > 0.3) {
    const wobble = context.createOscillator(),
      depth = context.createGain();
    wobble.frequency.value = 5.3;
    depth.gain.setValueAtTime(0, at + 0.15);
    depth.gain.linearRampToValueAtTime(family.vibrato, at + 0.6);
    wobble.connect(depth);
    nodes.slice().forEach(node => depth.connect(node.detune));
    nodes.push(wobble);
  }
  if (family.breath) {
    const air = context.createBufferSource(),
      level = context.createGain();
    air.buffer = audio.noise;
    air.loop = true;
    level.gain.value = family.breath;
    air.connect(level).connect(filter);
    nodes.push(air);
  }
  filter.connect(envelope).connect(out);
  for (const node of nodes) {
    node.start(at);
    node.stop(end);
  }
}

// Drums: a falling tone (from, to, time), noise (filter, frequency, time), or both.
const tone = (from, to, time, level = 1) => ({from, to, time, level}),
  hiss = (type, frequency, time, level = 1) => ({type, frequency, time, level});
// prettier-ignore
const DRUMS = {
  35: [tone(120, 42, 0.32, 1.3)], 36: [tone(150, 48, 0.26, 1.3), hiss('lowpass', 1800, 0.02, 0.4)],
  37: [hiss('bandpass', 1900, 0.04, 1.4), tone(900, 600, 0.03, 0.4)],
  38: [tone(230, 150, 0.11, 0.6), hiss('highpass', 1600, 0.16, 0.8)],
  39: [hiss('bandpass', 1300, 0.14, 1.5)],
  40: [tone(280, 180, 0.1, 0.6), hiss('highpass', 2300, 0.17, 0.8)],
  42: [hiss('highpass', 8200, 0.05, 0.5)], 44: [hiss('highpass', 7200, 0.06, 0.4)],
  46: [hiss('highpass', 7600, 0.3, 0.45)], 49: [hiss('highpass', 4200, 1.2, 0.5)],
  51: [hiss('highpass', 6400, 0.5, 0.28), tone(3300, 3300, 0.25, 0.06)],
  52: [hiss('highpass', 3400, 1, 0.5)],
  53: [tone(2600, 2600, 0.5, 0.18), hiss('highpass', 7000, 0.25, 0.15)],
  54: [hiss('highpass', 6200, 0.12, 0.5)], 55: [hiss('highpass', 5600, 0.6, 0.5)],
  56: [tone(800, 790, 0.16, 0.35), tone(545, 540, 0.16, 0.3)],
  57: [hiss('highpass', 4800, 1.3, 0.5)],
  59: [hiss('highpass', 6000, 0.5, 0.28), tone(3600, 3600, 0.2, 0.06)],
  69: [hiss('highpass', 5200, 0.07, 0.5)], 70: [hiss('highpass', 6200, 0.06, 0.5)],
  73: [hiss('bandpass', 3200, 0.07, 0.8)], 74: [hiss('bandpass', 3200, 0.2, 0.8)],
  80: [tone(4200, 4200, 0.06, 0.2)], 81: [tone(4200, 4200, 0.5, 0.2)],
  82: [hiss('highpass', 7000, 0.08, 0.4)],
};
const drumOf = pitch =>
  // toms, congas, ...
  DRUMS[pitch] || [tone((60 + (pitch - 40) * 9) * 1.5, 60 + (pitch - 40) * 9, 0.22, 0.8)];

function playDrum(pitch, at, loudness, out) {
  const context = audio.context;
  for (const part of drumOf(pitch)) {
    const envelope = context.createGain();
    envelope.gain.setValueAtTime(loudness * part.level * 0.38, at);
    envelope.gain.exponentialRampToValueAtTime(0.0005, at + part.time);
    let source;
    if (part.from) {
      source = context.createOscillator();
      source.frequency.setValueAtTime(Math.max(30, part.from), at);
      source.frequency.exponentialRampToValueAtTime(Math.max(30, part.to), at + part.time * 0.6);
      source.connect(envelope);
    } else {
      const filter = context.createBiquadFilter();
      source = context.createBufferSource();
      source.buffer = audio.noise;
      source.loop = true;
      filter.type = part.type;
      filter.frequency.value = part.frequency;
      source.connect(filter).connect(envelope);
    }
    envelope.connect(out);
    source.start(at, source.buffer ? Math.random() * 0.5 : undefined);
    source.stop(at + part.time + 0.05);
  }
}
