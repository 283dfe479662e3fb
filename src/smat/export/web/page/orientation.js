"use strict";
// WebP pictures that the camera held otherwise (EXIF): not every browser turns these, as they all turn JPEG.

// A WebP of 2 x 1 pixels that is to be turned by a right angle.
const PROBE =
  "UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TA4AAAAvAQAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=";

// What a canvas's transform is, for the EXIF orientations from 2 on, of a picture of so many pixels.
const TURNS = {
  2: (width, height) => [-1, 0, 0, 1, width, 0],
  3: (width, height) => [-1, 0, 0, -1, width, height],
  4: (width, height) => [1, 0, 0, -1, 0, height],
  5: (width, height) => [0, 1, 1, 0, 0, 0],
  6: (width, height) => [0, 1, -1, 0, height, 0],
  7: (width, height) => [0, -1, -1, 0, height, width],
  8: (width, height) => [0, -1, 1, 0, 0, width],
};

async function viewOf(file, start, length) {
  return new DataView(await file.slice(start, start + length).arrayBuffer());
}

const nameAt = (view, at) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4));

// The orientation of a WebP; 1 where it has none, and of other files.
async function webpOrientation(file) {
  const head = await viewOf(file, 0, 12);
  if (head.byteLength < 12 || nameAt(head, 0) !== "RIFF" || nameAt(head, 8) !== "WEBP") return 1;
  for (let start = 12; start + 8 <= file.size; ) {
    const chunk = await viewOf(file, start, 8);
    const length = chunk.getUint32(4, true);
    if (nameAt(chunk, 0) === "EXIF") return exifOrientation(await viewOf(file, start + 8, length));
    start += 8 + length + (length % 2);
  }
  return 1;
}

function exifOrientation(view) {
  try {
    const start = nameAt(view, 0) === "Exif" ? 6 : 0;
    const little = view.getUint16(start) === 0x4949;
    const table = start + view.getUint32(start + 4, little);
    for (let entry = 0; entry < view.getUint16(table, little); entry++) {
      const at = table + 2 + 12 * entry;
      if (view.getUint16(at, little) === 0x0112) return view.getUint16(at + 8, little);
    }
  } catch {
    // cut short: it says nothing
  }
  return 1;
}

// Whether the browser itself turns them.
async function turnsWebp() {
  const probe = Uint8Array.from(atob(PROBE), (letter) => letter.charCodeAt(0));
  return (await createImageBitmap(new Blob([probe]), { imageOrientation: "from-image" })).width === 1;
}

// A decoded picture, the right way up.
async function turned(bitmap, file) {
  const transform = TURNS[await webpOrientation(file)];
  if (!transform || (await turnsWebp())) return bitmap;
  const { width, height } = bitmap;
  const matrix = transform(width, height);
  const canvas = matrix[0] ? new OffscreenCanvas(width, height) : new OffscreenCanvas(height, width);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.setTransform(...matrix);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}
