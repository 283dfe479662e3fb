"use strict";
// Cutting and resizing as Pillow does it, to the bit: antialiased bicubic, first along rows, then along columns, with
// weights of 22 bits and values of 8 bits in between (pictures more than a hundred times as tall as wide, where Pillow
// begins with the columns, may differ by 1). What a canvas does when it scales is another thing in each browser.

const BITS = 22;

function bicubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0;
}

// For each of `outputs` that cover `from`..`to` of the `size` inputs: which it is made of, and their weights as whole
// numbers.
function weightsOf(size, from, to, outputs) {
  const scale = (to - from) / outputs;
  const stretch = Math.max(scale, 1);
  const support = 2 * stretch;
  return Array.from({ length: outputs }, (_, place) => {
    const centre = from + (place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const stop = Math.min(size, Math.trunc(centre + support + 0.5));
    const shares = Float64Array.from({ length: stop - start }, (_, k) => bicubic((k + start - centre + 0.5) * (1 / stretch)));
    const sum = shares.reduce((total, share) => total + share, 0);
    const whole = Int32Array.from(shares, (share) => {
      const scaled = (share / sum) * (1 << BITS);
      return Math.trunc(scaled + (scaled < 0 ? -0.5 : 0.5));
    });
    return { start, stop, whole };
  });
}

// The largest square in the middle of a picture, resized to `size` pixels. Rows of the picture come from its top, some at
// a time.
class Square {
  constructor(width, height, size) {
    const side = Math.min(width, height);
    const along = (extent) => weightsOf(extent, (extent - side) / 2, (extent + side) / 2, size);
    this.size = size;
    this.width = width;
    this.columns = along(width);
    this.rows = along(height);
    this.first = this.rows[0].start;
    this.last = this.rows[size - 1].stop;
    this.between = new Uint8ClampedArray((this.last - this.first) * size * 3);
  }

  // RGBA values of rows `top`.., all within `first`..`last`.
  add(top, values) {
    const { size, width, columns, between } = this;
    const rows = values.length / 4 / width;
    for (let row = 0; row < rows; row++) {
      let into = (top - this.first + row) * size * 3;
      for (const { start, stop, whole } of columns) {
        let red = 1 << (BITS - 1), green = red, blue = red;
        for (let column = start, from = (row * width + start) * 4; column < stop; column++, from += 4) {
          const weight = whole[column - start];
          red += weight * values[from];
          green += weight * values[from + 1];
          blue += weight * values[from + 2];
        }
        between[into++] = red >> BITS;
        between[into++] = green >> BITS;
        between[into++] = blue >> BITS;
      }
    }
  }

  // The square's values, `[size, size, 3]`, when all rows are in.
  values() {
    const { size, first, between } = this;
    const found = new Uint8ClampedArray(size * size * 3);
    this.rows.forEach(({ start, stop, whole }, row) => {
      for (let place = 0; place < size * 3; place++) {
        let sum = 1 << (BITS - 1);
        for (let from = start; from < stop; from++) sum += whole[from - start] * between[(from - first) * size * 3 + place];
        found[row * size * 3 + place] = sum >> BITS;
      }
    });
    return new Uint8Array(found.buffer);
  }
}
