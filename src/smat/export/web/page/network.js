"use strict";
// The classifier as the page uses it: its parts are read from the scripts beside the page, and run in a worker.

const texts = {};

// Called by each of the scripts that the parts lie in, as base64 of what gzip made of them: scripts load everywhere, also
// where the page was opened by a double click and may fetch nothing.
function part(name, text) {
  (texts[name] ??= []).push(text);
}

function script(address) {
  return new Promise((done, failed) => {
    const element = document.createElement("script");
    element.src = address;
    element.onload = () => done(element.remove());
    element.onerror = () => failed(new Error(`${address} is missing: copy the whole folder`));
    document.head.append(element);
  });
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  return Uint8Array.from({ length: text.length }, (_, place) => text.charCodeAt(place));
}

async function load(name, progress) {
  const count = about.parts[name];
  for (let number = 0; number < count; number++) {
    await script(`parts/${name}-${number}.js`);
    progress(1 / count);
  }
  const zipped = new Blob(texts[name].map(bytesOf));
  delete texts[name];
  return new Response(zipped.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

class Network {
  constructor(worker, provider) {
    this.provider = provider;
    this.worker = worker;
    this.waiting = new Map();
    this.asked = 0;
    worker.onmessage = ({ data: { number, found, error } }) => {
      const { done, failed } = this.waiting.get(number);
      this.waiting.delete(number);
      if (error) failed(new Error(error));
      else done(found);
    };
    worker.onerror = (event) => {
      for (const { failed } of this.waiting.values()) failed(new Error(event.message || "the worker does not start"));
    };
  }

  ask(task, given, transferred = []) {
    const number = this.asked++;
    return new Promise((done, failed) => {
      this.waiting.set(number, { done, failed });
      this.worker.postMessage({ task, number, ...given }, transferred);
    });
  }

  // Probabilities, the score of being known, and a thumbnail of a picture: a file, or an ImageBitmap, which is used up.
  classify(picture, thumbnail = true) {
    return this.ask("classify", { picture, thumbnail }, picture instanceof Blob ? [] : [picture]);
  }

  static async on(provider, model, progress) {
    const [code, glue, wasm] = [
      await load(`${provider}-code`, () => {}),
      await load(`${provider}-glue`, () => {}),
      await load(provider, progress),
    ];
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    const network = new Network(worker, provider);
    try {
      await network.ask("start", { about, provider, wasm, glue, model }, [wasm]);
    } catch (error) {
      worker.terminate();
      throw error;
    }
    return network;
  }

  // On the GPU where the browser lets pages use it and it computes the same there, and else on the processor.
  static async start(progress) {
    const model = await load("model", (share) => progress(share / 2));
    const gpu = await navigator.gpu?.requestAdapter().catch(() => null);
    if (gpu) {
      try {
        return await Network.on("webgpu", model, (share) => progress(share / 4));
      } catch (error) {
        console.warn(`not on the GPU: ${error.message}`);
      }
    }
    return Network.on("wasm", model, (share) => progress(share / (gpu ? 4 : 2)));
  }
}
