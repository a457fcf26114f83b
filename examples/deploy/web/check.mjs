// pose.js under Node, in the same WebAssembly as in the browser: node check.mjs exported/model.onnx frame.ppm
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as ort from "onnxruntime-web";
import { findPoints, loadModel } from "./pose.js";

/** A binary PGM or PPM of 8 bits. */
function readPnm(bytes) {
  const header = /^(P[56])(?:\s+(?:#[^\n]*\n\s*)*(\d+))(?:\s+(?:#[^\n]*\n\s*)*(\d+))\s+(?:#[^\n]*\n\s*)*255\s/.exec(
    bytes.subarray(0, 1024).toString("latin1"),
  );
  if (!header) throw new Error("This is not a binary PGM or PPM image of 8 bits.");
  const [width, height, channels] = [Number(header[2]), Number(header[3]), header[1] === "P6" ? 3 : 1];
  const start = header[0].length;
  return { data: bytes.subarray(start, start + width * height * channels), width, height, channels };
}

async function main([graph, picture]) {
  if (!picture) throw new Error("usage: node check.mjs exported/model.onnx frame.ppm");
  const metadata = JSON.parse(await readFile(join(dirname(graph), "export_metadata.json"), "utf8"));
  const model = await loadModel(ort, await readFile(graph), metadata.node_names);
  for (const { node, x, y, value } of await findPoints(model, readPnm(await readFile(picture)))) {
    console.log(node, x.toFixed(3), y.toFixed(3), value.toFixed(3));
  }
  await model.session.release();
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(`check: ${error.message}`);
  process.exitCode = 1;
}
