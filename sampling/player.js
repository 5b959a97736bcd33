const data = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id);
const PLAY = '<svg viewBox="0 0 18 18"><path d="M4 2l12 7-12 7z"/></svg>',
  PAUSE = '<svg viewBox="0 0 18 18"><path d="M4 2h4v14H4zM10 2h4v14h-4z"/></svg>';

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}
const clock = s => Math.floor(s / 60) + ':' + String(Math.floor(s % 60)).padStart(2, '0');
const number = x =>
  x === null ? 'undefined' : Number.isInteger(x) ? String(x) : x.toFixed(Math.abs(x) < 10 ? 2 : 1);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- Time. Notes are in units of 1/24 quarter; seconds follow from the tempos.
function secondsOf(tune) {
  const marks = [];
  let seconds = 0;
  tune.tempos.forEach(([onset, tempo], i) => {
    if (i) seconds += (((onset - tune.tempos[i - 1][0]) / 24) * 60) / tune.tempos[i - 1][1];
    marks.push([onset, seconds, 60 / tempo / 24]);
  });
  return units => {
    let mark = marks[0];
    for (const m of marks) if (m[0] <= units) mark = m;
    return mark[1] + (units - mark[0]) * mark[2];
  };
}

for (const tune of data.tunes) {
  const seconds = secondsOf(tune),
    downbeats = new Set(tune.bars);
  tune.end = tune.bars[tune.bars.length - 1];
  tune.seconds = seconds(tune.end);
  tune.unitsAt = s => {
    let low = 0,
      high = tune.end;
    for (let i = 0; i < 40; i++) {
      const mid = (low + high) / 2;
      seconds(mid) < s ? (low = mid) : (high = mid);
    }
    return low;
  };
  tune.events = tune.notes
    .map(([onset, duration, pitch, voice]) => ({
      at: seconds(onset),
      duration: seconds(onset + duration) - seconds(onset),
      pitch,
      voice,
      loudness: downbeats.has(onset) ? 1 : onset % 24 ? 0.78 : 0.88,
    }))
    .sort((a, b) => a.at - b.at);
}

// ---- Player: one tune at a time; notes are handed to the audio clock a little ahead.
const player = {
  tune: data.tunes[0],
  position: 0,
  playing: false,
  bus: null,
  timer: null,
  next: 0,
  zero: 0,
};
const speed = () => $('speed').value / 100;
const position = () =>
  player.playing
    ? Math.max(0, (audio.context.currentTime - player.zero) * player.rate)
    : player.position;

async function play(tune, from = 0) {
  stop();
  await startAudio();
  player.tune = tune;
  player.rate = speed();
  player.playing = true;
  engrave(tune);
  player.bus = audio.context.createGain();
  player.bus.connect(audio.master);
  const n = tune.voices.length;
  player.outs = tune.voices.map((voice, i) => {
    const pan = audio.context.createStereoPanner(),
      level = audio.context.createGain();
    pan.pan.value = n > 1 && !voice.drums ? (i / (n - 1) - 0.5) * 0.9 : 0;
    level.gain.value = 1.1 / Math.sqrt(Math.max(1, n / 2));
    level.connect(pan).connect(player.bus);
    return level;
  });
  player.zero = audio.context.currentTime + 0.12 - from / player.rate;
  player.next = tune.events.findIndex(event => event.at >= from - 0.001);
  if (player.next < 0) player.next = tune.events.length;
  schedule();
  player.timer = setInterval(schedule, 80);
  refresh();
  requestAnimationFrame(frame);
}

function schedule() {
  const {tune} = player,
    ahead = position() + 0.5 * player.rate;
  for (; player.next < tune.events.length && tune.events[player.next].at < ahead; player.next++) {
    const event = tune.events[player.next],
      voice = tune.voices[event.voice],
      at = Math.max(audio.context.currentTime, player.zero + event.at / player.rate);
    voice.drums
      ? playDrum(event.pitch, at, event.loudness, player.outs[event.voice])
      : playNote(
          voice.program,
          event.pitch,
          at,
          event.duration / player.rate,
          event.loudness,
          player.outs[event.voice],
        );
  }
  if (position() > tune.seconds + 1.2) {
    const following = data.blind ? null : data.tunes[data.tunes.indexOf(tune) + 1];
    player.position = 0;
    following ? play(following) : stop(0);
  }
}

function stop(at = position()) {
  player.position = Math.min(at, player.tune.seconds);
  if (!player.playing) return;
  clearInterval(player.timer);
  player.playing = false;
  player.bus.gain.setTargetAtTime(0, audio.context.currentTime, 0.015);
  const bus = player.bus;
  setTimeout(() => bus.disconnect(), 200);
  paint(player.tune);
  refresh();
}

const toggle = tune =>
  player.playing && player.tune === tune
    ? stop()
    : play(
        tune,
        player.tune === tune && player.position < tune.seconds - 0.1 ? player.position : 0,
      );
function step(by) {
  const tune =
    data.tunes[(data.tunes.indexOf(player.tune) + by + data.tunes.length) % data.tunes.length];
  player.playing ? play(tune) : ((player.tune = tune), (player.position = 0), refresh());
  tune.card.scrollIntoView({behavior: 'smooth', block: 'nearest'});
}

function frame() {
  if (!player.playing) return;
  paint(player.tune);
  progress();
  requestAnimationFrame(frame);
}

function progress() {
  const {tune} = player,
    now = Math.min(position(), tune.seconds);
  if (document.activeElement !== $('seek') || player.playing)
    $('seek').value = (1000 * now) / tune.seconds;
  $('time').textContent = clock(now) + ' / ' + clock(tune.seconds);
}

function refresh() {
  for (const tune of data.tunes) {
    const on = player.playing && tune === player.tune;
    tune.button.innerHTML = on ? PAUSE : PLAY;
    tune.button.setAttribute('aria-label', (on ? 'pause ' : 'play ') + tune.name);
    tune.card.classList.toggle('on', tune === player.tune);
    if (tune !== player.tune) paint(tune);
  }
  $('toggle').innerHTML = player.playing ? PAUSE : PLAY;
  $('now').textContent = player.tune.name;
  progress();
}

// ---- Piano roll: pitch upwards, time to the right; drums in a strip of their own at the bottom.
function layout(tune) {
  const canvas = tune.canvas,
    ratio = devicePixelRatio || 1,
    height = canvas.clientHeight || 150;
  const width = Math.max(tune.scroller.clientWidth, Math.min(12000, (tune.bars.length - 1) * 26));
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = width + 'px';
  const back = (tune.back = document.createElement('canvas')),
    draw = back.getContext('2d');
  back.width = canvas.width;
  back.height = canvas.height;
  draw.scale(ratio, ratio);
  const pitched = tune.notes.filter(note => !tune.voices[note[3]].drums),
    drums = tune.notes.filter(note => tune.voices[note[3]].drums);
  const low = Math.min(...pitched.map(note => note[2]), 60) - 2,
    high = Math.max(...pitched.map(note => note[2]), 72) + 2;
  const kinds = [...new Set(drums.map(note => note[2]))].sort((a, b) => a - b),
    strip = drums.length ? Math.min(height * 0.3, 7 * kinds.length + 8) : 0;
  const row = (height - strip) / (high - low + 1),
    x = units => (units / tune.end) * width;
  const palette = tune.voices.map((_, i) => colour('--v' + (i % 8)));
  draw.fillStyle = colour('--roll');
  draw.fillRect(0, 0, width, height);
  draw.fillStyle = colour('--row');
  for (let pitch = low; pitch <= high; pitch++)
    if ([1, 3, 6, 8, 10].includes(pitch % 12)) draw.fillRect(0, (high - pitch) * row, width, row);
  draw.fillStyle = colour('--bar');
  for (const bar of tune.bars) draw.fillRect(Math.round(x(bar)), 0, 1, height);
  if (strip) draw.fillRect(0, height - strip, width, 1);
  if (tune.prompt_end) {
    draw.globalAlpha = 0.12;
    draw.fillStyle = colour('--accent');
    draw.fillRect(0, 0, x(tune.prompt_end), height);
    draw.globalAlpha = 1;
  }
  tune.boxes = tune.notes.map(([onset, duration, pitch, voice]) => {
    const drum = tune.voices[voice].drums,
      h = drum ? Math.min(6, (strip - 4) / kinds.length) : Math.max(2.5, Math.min(row - 0.6, 10));
    const y = drum
      ? height - 4 - ((kinds.indexOf(pitch) + 1) * (strip - 6)) / kinds.length
      : (high - pitch) * row + (row - h) / 2;
    return {
      x: x(onset) + 0.5,
      y,
      w: drum ? 4 : Math.max(2, x(duration) - 1),
      h,
      onset,
      end: onset + duration,
      colour: palette[voice],
    };
  });
  draw.globalAlpha = 0.85;
  for (const box of tune.boxes) {
    draw.fillStyle = box.colour;
    draw.beginPath();
    draw.roundRect(box.x, box.y, box.w, box.h, Math.min(2.5, box.h / 2, box.w / 2));
    draw.fill();
  }
  Object.assign(tune, {width, height, ratio});
  paint(tune);
}

function paint(tune) {
  mark(tune);
  if (!tune.back) return;
  const draw = tune.canvas.getContext('2d');
  draw.setTransform(1, 0, 0, 1, 0, 0);
  draw.drawImage(tune.back, 0, 0);
  const now = tune === player.tune ? Math.min(position(), tune.seconds) : 0;
  tune.canvas.dataset.cursor = 0;
  if (!now) return;
  draw.scale(tune.ratio, tune.ratio);
  const units = tune.unitsAt(now),
    x = (units / tune.end) * tune.width;
  if (player.playing) {
    draw.fillStyle = colour('--cursor');
    for (const box of tune.boxes)
      if (box.onset <= units && units < box.end) {
        draw.beginPath();
        draw.roundRect(box.x - 1, box.y - 1, box.w + 2, box.h + 2, 3);
        draw.fill();
      }
    for (const box of tune.boxes)
      if (box.onset <= units && units < box.end) {
        draw.fillStyle = box.colour;
        draw.fillRect(box.x, box.y, box.w, box.h);
      }
    const {scroller} = tune;
    if (x < scroller.scrollLeft || x > scroller.scrollLeft + scroller.clientWidth * 0.85)
      scroller.scrollLeft = x - scroller.clientWidth * 0.15;
  }
  draw.fillStyle = colour('--cursor');
  draw.fillRect(x - 0.75, 0, 1.5, tune.height);
  tune.canvas.dataset.cursor = x;
}

// ---- Score: engraved for a desk and for a phone, unpacked when it comes into view. What is drawn
// of note i has data-note="i".
const inView = new IntersectionObserver(
  entries =>
    entries.forEach(entry => {
      if (entry.isIntersecting) engrave(data.tunes.find(tune => tune.score === entry.target));
    }),
  {rootMargin: '800px'},
);

function unzipped(base64) {
  const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).text();
}

async function engrave(tune) {
  const form = tune.scores[innerWidth < 700 ? 1 : 0];
  if (!form || tune.form === form) return;
  tune.form = form;
  const inner = element('div');
  inner.innerHTML = await unzipped(form.gzip);
  if (tune.form !== form) return;
  reserve(tune, form, inner);
  tune.heads = tune.notes.map(() => []);
  tune.marked = new Set();
  tune.system = null;
  inner.querySelectorAll('[data-note]').forEach(head => tune.heads[head.dataset.note].push(head));
  mark(tune);
}

function reserve(tune, form, inner) {
  Object.assign(inner.style, {
    maxWidth: form.width + 'px',
    minWidth: form.width * 0.7 + 'px',
    aspectRatio: form.width + ' / ' + form.height,
  });
  tune.score.replaceChildren(inner);
}

function mark(tune) {
  if (!tune.heads) return;
  const units =
    player.playing && tune === player.tune ? tune.unitsAt(Math.min(position(), tune.seconds)) : -1;
  tune.notes.forEach(([onset, duration, , voice], i) => {
    const sounds = onset <= units && units < onset + duration;
    if (sounds === tune.marked.has(i)) return;
    tune.marked[sounds ? 'add' : 'delete'](i);
    for (const head of tune.heads[i]) {
      head.classList.toggle('on', sounds);
      head.style.color = head.style.fill = sounds ? `var(--v${voice % 8})` : '';
    }
    const system =
      sounds && tune.heads[i].length ? tune.heads[i][0].closest('.system') : tune.system;
    if (system === tune.system) return;
    tune.system = system;
    const box = tune.score.getBoundingClientRect(),
      line = system.getBoundingClientRect();
    if (line.top < box.top || line.bottom > box.bottom)
      tune.score.scrollTop += line.top - box.top - 12;
  });
}

// ---- The page.
const FILES = {
  '.musicxml': 'for score editors such as MuseScore',
  '.abc': 'text, for editors and programs that read ABC',
  '.mid': 'for players and sequencers',
};

function card(tune) {
  tune.button = element('button', {className: 'play', onclick: () => toggle(tune)});
  tune.canvas = element('canvas');
  tune.canvas.setAttribute('role', 'img');
  tune.canvas.setAttribute('aria-label', 'piano roll of ' + tune.name);
  tune.scroller = element('div', {className: 'roll'}, tune.canvas);
  tune.canvas.onclick = event => {
    const units = (event.offsetX / tune.width) * tune.end;
    play(tune, secondsOf(tune)(units));
  };
  tune.score = element('div', {className: 'sheet'});
  tune.score.setAttribute('role', 'img');
  tune.score.setAttribute('aria-label', 'score of ' + tune.name);
  tune.score.onclick = event => {
    const head = event.target.closest('[data-note]');
    if (head) play(tune, secondsOf(tune)(tune.notes[head.dataset.note][0]));
  };
  const form = tune.scores[innerWidth < 700 ? 1 : 0];
  if (form) reserve(tune, form, element('div'));
  inView.observe(tune.score);
  const files = element('div', {className: 'files'});
  const file = (suffix, url) => {
    const properties = {textContent: suffix, title: FILES[suffix], download: tune.file + suffix};
    const link = element('a', {className: 'button', href: url, ...properties});
    files.append(link);
    return link;
  };
  const score = file('.musicxml', '#');
  unzipped(tune.musicxml).then(text => {
    const type = 'application/vnd.recordare.musicxml+xml';
    score.href = URL.createObjectURL(new Blob([text], {type}));
  });
  file('.abc', 'data:text/vnd.abc;charset=utf-8,' + encodeURIComponent(tune.abc));
  if (tune.midi) file('.mid', 'data:audio/midi;base64,' + tune.midi);
  const voices = element(
    'div',
    {className: 'voices'},
    ...tune.voices.map((voice, i) => {
      const dot = element('i');
      dot.style.background = `var(--v${i % 8})`;
      return element('span', {}, dot, voice.name);
    }),
  );
  const panels = [
    ['ABC', element('pre', {textContent: tune.abc})],
    ['what the model wrote', element('pre', {textContent: tune.text})],
    [
      'statistics',
      element(
        'dl',
        {},
        ...Object.entries(data.names).map(([key, name]) =>
          element(
            'div',
            {},
            element('dt', {textContent: name}),
            element('dd', {textContent: number(tune.statistics[key])}),
          ),
        ),
      ),
    ],
  ];
  const tabs = element('div', {className: 'tabs'}),
    more = element('div', {className: 'more'}, tabs);
  panels.forEach(([name, content]) => {
    const panel = element('div', {className: 'panel', hidden: true}, content),
      tab = element('button', {textContent: name});
    tab.setAttribute('aria-selected', 'false');
    tab.onclick = () => {
      const open = panel.hidden;
      more.querySelectorAll('.panel').forEach(other => {
        other.hidden = true;
      });
      tabs
        .querySelectorAll('button')
        .forEach(other => other.setAttribute('aria-selected', 'false'));
      panel.hidden = !open;
      tab.setAttribute('aria-selected', String(open));
    };
    tabs.append(tab);
    more.append(panel);
  });
  const facts = [
    tune.key,
    tune.meter,
    '♩ = ' + tune.tempos[0][1],
    tune.statistics.bars + ' bars',
    tune.statistics.notes + ' notes',
    clock(tune.seconds),
  ].join(' · ');
  tune.card = element(
    'article',
    {className: 'tune'},
    element(
      'div',
      {className: 'head'},
      tune.button,
      element(
        'div',
        {className: 'name'},
        element('b', {textContent: tune.name}),
        element('span', {className: 'soft', textContent: facts}),
      ),
      files,
    ),
    voices,
    tune.scroller,
    tune.score,
    more,
  );
  return tune.card;
}

function comparison() {
  if (!data.comparison) return;
  const row = (tag, ...cells) =>
    element(
      'tr',
      {},
      ...cells.map((cell, i) => {
        const td = element(tag, {className: i == 1 || i == 2 ? 'n' : ''});
        td.append(cell);
        return td;
      }),
    );
  const names = {...data.names, ...data.headings},
    rows = {...data.comparison, ...data.headers};
  const body = Object.entries(rows).map(([key, r]) => {
    let cell = 'too few tunes';
    if (r.overlap !== null) {
      const fill = element('i'),
        mark = element('u');
      fill.style.width = 100 * r.overlap + '%';
      mark.style.left = 100 * r.baseline + '%';
      cell = element(
        'div',
        {
          className: 'meter',
          title:
            `overlap ${r.overlap.toFixed(2)}, ` +
            `of two sets of held-out tunes ${r.baseline.toFixed(2)}`,
        },
        fill,
        mark,
      );
    }
    const text = value => (typeof value === 'string' ? value : number(value));
    return row('td', names[key], text(r.samples), text(r.held_out), cell);
  });
  const known = Object.values(data.comparison).filter(r => r.overlap !== null);
  const mean = column => (known.reduce((sum, r) => sum + r[column], 0) / known.length).toFixed(2);
  const summary = known.length
    ? `: mean overlap ${mean('overlap')}, of two sets of these ${mean('baseline')}`
    : '';
  $('statistics').append(
    element(
      'details',
      {},
      element('summary', {textContent: 'Against tunes the model has never seen' + summary}),
      element('p', {
        className: 'soft',
        textContent:
          'Medians or the most common value, and how far the two distributions overlap. ' +
          'The mark is the overlap of two sets of held-out tunes of the same size: ' +
          'no model can be expected to pass it.' +
          (data.caution ? ' ' + data.caution + '.' : ''),
      }),
      element(
        'div',
        {className: 'scroll'},
        element(
          'table',
          {},
          element('thead', {}, row('th', '', 'samples', 'held out', 'overlap')),
          element('tbody', {}, ...body),
        ),
      ),
    ),
  );
  const median = values => {
    const sorted = [...values].sort((a, b) => a - b),
      n = sorted.length;
    return (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
  };
  if (data.copying)
    $('statistics').append(
      element('p', {
        className: 'soft',
        textContent:
          'Longest run of notes that occurs in a training tune, in any key: ' +
          `${median(data.copying.samples)} (median of the samples), ` +
          `${median(data.copying.held_out)} (median of held-out tunes).`,
      }),
    );
}

// ---- A blind listening test: pairs of tunes A and B, a choice for each pair, and all as JSON.
const choices = new Map();

function pairCard(n) {
  const head = element('div', {className: 'head'});
  head.append(element('b', {className: 'name', textContent: `Pair ${n + 1}`}));
  for (const tune of data.tunes.slice(2 * n, 2 * n + 2)) {
    tune.button = element('button', {className: 'play', onclick: () => toggle(tune)});
    tune.card = element('span', {className: 'side', textContent: tune.name + ' '});
    tune.card.append(tune.button);
    head.append(tune.card);
  }
  for (const [choice, text] of [
    ['A', 'I prefer A'],
    ['B', 'I prefer B'],
    ['', 'no preference'],
  ]) {
    const button = element('button', {className: 'choice', textContent: text});
    button.onclick = () => {
      choices.set(n, choice);
      head
        .querySelectorAll('.choice')
        .forEach(other => other.classList.toggle('on', other === button));
      offerChoices();
    };
    head.append(button);
  }
  return element('article', {className: 'tune'}, head);
}

function offerChoices() {
  const rows = [...choices.keys()]
    .sort((a, b) => a - b)
    .map(n => {
      const [A, B] = data.tunes.slice(2 * n, 2 * n + 2).map(tune => tune.source);
      return {pair: n + 1, A, B, choice: choices.get(n), preferred: {A, B}[choices.get(n)] || null};
    });
  const href = 'data:application/json,' + encodeURIComponent(JSON.stringify(rows, null, 1));
  const text = `save ${rows.length} of ${data.tunes.length / 2} choices`;
  const link = element('a', {
    className: 'button',
    download: 'choices.json',
    href,
    textContent: text,
  });
  $('statistics').replaceChildren(link);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  data.tunes.forEach(tune => {
    if (tune.back) layout(tune);
  });
}

function startBlind() {
  $('title').textContent = document.title = `${data.tunes.length / 2} pairs of tunes`;
  $('about').textContent =
    'Listen to A and B of each pair, choose, and save the choices at the end.';
  for (let n = 0; n < data.tunes.length / 2; n++) $('tunes').append(pairCard(n));
}

function start() {
  $('title').textContent = document.title = data.tunes.length + ' sampled tunes';
  $('about').textContent = data.about;
  $('files').textContent = Object.entries(FILES)
    .filter(([suffix]) => suffix !== '.mid' || data.tunes.some(tune => tune.midi))
    .map(([suffix, use]) => `${suffix} is ${use}`)
    .join('; ');
  $('footer').textContent = [
    data.ckpt,
    ...Object.entries(data.redrawn).map(([reason, n]) => `${n} ${reason}, drawn again`),
  ].join('; ');
  $('tunes').append(...data.tunes.map(card));
  comparison();
}

setTheme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
$('theme').onclick = () =>
  setTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
data.blind ? startBlind() : start();
if (data.tunes.length) {
  $('toggle').onclick = () => toggle(player.tune);
  $('previous').onclick = () => step(-1);
  $('next').onclick = () => step(1);
  $('volume').oninput = setVolume;
  $('speed').onchange = () => {
    if (player.playing) play(player.tune, position());
  };
  $('seek').onchange = () => {
    const at = ($('seek').value / 1000) * player.tune.seconds;
    player.playing
      ? play(player.tune, at)
      : ((player.position = at), paint(player.tune), progress());
  };
  document.onkeydown = event => {
    if (event.code === 'Space' && !/BUTTON|INPUT|A/.test(event.target.tagName)) {
      event.preventDefault();
      toggle(player.tune);
    }
  };
  const rolls = data.tunes.filter(tune => tune.canvas);
  rolls.forEach(layout);
  refresh();
  let width = innerWidth;
  addEventListener('resize', () => {
    if (innerWidth !== width) {
      width = innerWidth;
      rolls.forEach(layout);
      data.tunes.filter(tune => tune.form).forEach(engrave);
    }
  });
}
