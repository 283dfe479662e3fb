"use strict";
// What runs beside the page, so that it stays responsive: pictures are decoded, cut and passed through the network here.
// Before this stand onnxruntime-web, resample.js and orientation.js; the page makes one worker of them all.

const STRIP = 256; // rows that are decoded at a time: phones limit the area of a canvas

let facts, session;

// White behind what is transparent, upright, and without conversion of colours: as the classifier learned its pictures.
const AS_STORED = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };

async function bitmapOf(file) {
  try {
    return await turned(await createImageBitmap(file, AS_STORED), file);
  } catch {
    throw new Error("this browser cannot read it as a picture; convert it to JPEG or PNG");
  }
}

function* strips(bitmap, first, last) {
  const canvas = new OffscreenCanvas(bitmap.width, Math.min(STRIP, last - first));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.fillStyle = "white";
  for (let top = first; top < last; top += STRIP) {
    const rows = Math.min(STRIP, last - top);
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, top, bitmap.width, rows, 0, 0, bitmap.width, rows);
    yield [top, context.getImageData(0, 0, bitmap.width, rows).data];
  }
}

// Whether it is a PNG of 16 bits, of which browsers keep the upper 8: enough to see what Python refuses.
async function isDeep(file) {
  const head = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  return [0x89, 0x50, 0x4e, 0x47].every((byte, place) => head[place] === byte) && head[24] === 16;
}

// A picture as the network takes it, `[side, side, 3]`.
async function squareOf(picture) {
  const file = picture instanceof Blob;
  const deep = file && (await isDeep(picture));
  const bitmap = file ? await bitmapOf(picture) : picture;
  const square = new Square(bitmap.width, bitmap.height, facts.recipe.side);
  let brightest = 0;
  for (const [top, values] of strips(bitmap, deep ? 0 : square.first, deep ? bitmap.height : square.last)) {
    if (deep) {
      for (let place = 0; place < values.length; place++) {
        if (place % 4 < 3 && values[place] > brightest) brightest = values[place];
      }
    } else {
      square.add(top, values);
    }
  }
  if (deep) refuseDark(brightest);
  if (deep) for (const [top, values] of strips(bitmap, square.first, square.last)) square.add(top, values);
  bitmap.close();
  return square.values();
}

function refuseDark(brightest) {
  const range = facts.recipe.grey_range;
  if (range ? range[0] !== 0 || range[1] !== 65535 : brightest > 0 && brightest < 128) {
    throw new Error("it has 16 bits per colour, and it is not known which value is white; convert it to 8 bits");
  }
}

async function classify(values) {
  const { side } = facts.recipe;
  const pictures = new ort.Tensor("uint8", values, [1, side, side, 3]);
  const found = await session.run({ pictures });
  return { probabilities: [...found.probabilities.data], known: Number(found.known.data[0]) };
}

// What is the same in Python and here, whatever the machine: the square that the exporter has classified too.
function checkSquare() {
  const { side } = facts.recipe;
  return Uint8Array.from({ length: side * side * 3 }, (_, place) => (place * 37 + (place >> 8) * 101) % 256);
}

async function start({ about, provider, wasm, glue, model }) {
  facts = about;
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([glue], { type: "text/javascript" })) };
  session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  const { probabilities } = await classify(checkSquare());
  const apart = Math.max(...probabilities.map((value, place) => Math.abs(value - about.check[place])));
  if (!(apart < 0.05)) throw new Error(`its probabilities are off by ${apart}`);
}

async function thumbnailOf(values) {
  const { side } = facts.recipe;
  const pixels = new ImageData(side, side);
  for (let place = 0; place < side * side; place++) {
    pixels.data.set([values[3 * place], values[3 * place + 1], values[3 * place + 2], 255], 4 * place);
  }
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

const TASKS = {
  start,
  async classify({ picture, thumbnail }) {
    const values = await squareOf(picture);
    const found = await classify(values);
    return { ...found, thumbnail: thumbnail && (await thumbnailOf(values)) };
  },
};

// One at a time, in the order in which they come.
let queue = Promise.resolve();
self.onmessage = ({ data: { task, number, ...given } }) => {
  queue = queue.then(async () => {
    try {
      self.postMessage({ number, found: await TASKS[task](given) });
    } catch (error) {
      self.postMessage({ number, error: error.message || String(error) });
    }
  });
};
