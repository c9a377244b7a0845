// The overview's charts: numbers from the service, drawn by uPlot.
(() => {
  "use strict";

  const drawn = new Map();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const shown = (value, unit) => {
    if (value == null) return "–";
    if (unit === "ms" && value >= 1000) return `${(value / 1000).toPrecision(3)} s`;
    const digits = value === 0 ? "0" : value < 10 ? value.toFixed(value < 1 ? 2 : 1) : value >= 1e4 ? `${(value / 1e3).toFixed(1)}k` : String(Math.round(value));
    return `${digits} ${unit}`;
  };

  const keys_line = (figure, names) => {
    const line = Object.assign(document.createElement("span"), { className: "keys-line" });
    const values = names.map((name, index) => {
      const key = Object.assign(document.createElement("span"), { className: `s${index + 1}` });
      const value = document.createElement("b");
      key.append(document.createElement("i"), `${name} `, value);
      line.append(key);
      return value;
    });
    figure.querySelector("figcaption").append(line);
    return values;
  };

  const draw = (figure, at, columns) => {
    const names = figure.dataset.names.split("|");
    const unit = figure.dataset.unit;
    const strokes = unit === "ms" ? ["--series-1", "--series-4", "--series-3"] : ["--series-1", "--series-2", "--series-3"];
    let known = drawn.get(figure.id);
    if (known && known.figure !== figure) {
      known.plot.destroy();
      known = null;
    }
    if (known) {
      known.plot.setData([at, ...columns]);
      return;
    }
    figure.querySelector(".keys-line")?.remove();
    figure.querySelector(".uplot")?.remove();
    const values = keys_line(figure, names);
    const show_values = (plot) => {
      const index = plot.cursor.idx ?? at_last(plot);
      values.forEach((value, number) => { value.textContent = shown(plot.data[number + 1][index], unit); });
    };
    const at_last = (plot) => plot.data[0].length - 1;
    const axis = { stroke: () => colour("--ink-faint"), font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: () => colour("--line"), width: 1 } };
    const plot = new uPlot({
      width: figure.clientWidth - 28,
      height: 140,
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false }, sync: { key: "overview" } },
      legend: { show: false },
      padding: [10, 20, 0, 0],
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, unit === "ms" ? 1 : 0.1)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 22, space: 70, values: (_, moments) => moments.map((each) => new Date(each * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false })) },
        { ...axis, size: 56, space: 34, values: (_, ticks) => ticks.map((each) => shown(each, unit)) },
      ],
      series: [
        {},
        ...names.map((label, index) => ({
          label,
          width: 1.5,
          stroke: () => colour(strokes[index]),
          fill: index === 0 && unit === "/s" ? () => `${colour(strokes[0])}1c` : undefined,
          points: { show: unit === "ms", size: 3, width: 1.5 },
          spanGaps: true,
        })),
      ],
      hooks: { setCursor: [show_values], setData: [show_values], ready: [show_values] },
    }, [at, ...columns], figure);
    drawn.set(figure.id, { plot, figure });
  };

  let asked = 0;
  const update = async () => {
    const first = document.querySelector("[data-chart][data-source]");
    if (!first || document.hidden) return;
    const source = first.dataset.source;
    const number = ++asked;
    let numbers;
    try {
      const answer = await fetch(source, { headers: { "X-Refresh": "yes" } });
      if (!answer.ok) return;
      numbers = await answer.json();
    } catch {
      return;
    }
    if (number !== asked) return;
    for (const figure of document.querySelectorAll("[data-chart]")) {
      if (figure.offsetParent) draw(figure, numbers.at, numbers[figure.dataset.chart]);
    }
  };

  const redraw = () => {
    for (const [name, { plot, figure }] of drawn) {
      if (!figure.isConnected) {
        plot.destroy();
        drawn.delete(name);
      } else if (figure.clientWidth > 28 && plot.width !== figure.clientWidth - 28) {
        plot.setSize({ width: figure.clientWidth - 28, height: 140 });
      } else {
        plot.redraw(false);
      }
    }
  };

  addEventListener("resize", () => {
    clearTimeout(redraw.timer);
    redraw.timer = setTimeout(redraw, 100);
  });
  document.addEventListener("page:theme", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.addEventListener("page:refreshed", update);
  update();
})();
