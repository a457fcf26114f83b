// Points of one image from an exported graph; for the browser and for Node, with whichever `ort` is given.

/**
 * Opens a graph; once, then it takes any number of images.
 *
 * @param {object} ort The module onnxruntime-web.
 * @param {string | Uint8Array} source Address of model.onnx, or its bytes.
 * @param {string[]} nodes Names of the nodes: `node_names` in export_metadata.json; without them, points are numbered.
 */
export async function loadModel(ort, source, nodes = []) {
  const session = await ort.InferenceSession.create(source, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  if (!session.outputNames.includes("peaks")) {
    throw new Error(`This graph gives no peaks, only ${session.outputNames.join(", ")}.`);
  }
  return { ort, session, nodes };
}

/**
 * Finds the points of one image.
 *
 * @param {object} model From `loadModel`.
 * @param {{data: ArrayLike<number>, width: number, height: number, channels: 1 | 3 | 4}} image
 *   Rows of pixels in 8 bits, as RGB; of RGBA, as a canvas gives it, the A is left out.
 * @returns {Promise<{node: string, x: number, y: number, value: number}[]>} In pixels; NaN where a point is missing.
 */
export async function findPoints({ ort, session, nodes }, { data, width, height, channels }) {
  const size = width * height;
  if (data.length !== size * channels) {
    throw new Error(`${width} x ${height} pixels of ${channels} channels are not ${data.length} values.`);
  }
  const planes = new Uint8Array(size * (channels === 1 ? 1 : 3));
  for (let i = 0; i < planes.length; i++) {
    planes[i] = data[(i % size) * channels + Math.floor(i / size)];
  }
  const image = new ort.Tensor("uint8", planes, [1, planes.length / size, height, width]);
  const { peaks, peak_vals: values } = await session.run({ image });
  if (peaks.dims.length !== 3) {
    throw new Error("This graph finds several animals; this code reads peaks (batch, nodes, 2).");
  }
  return Array.from(values.data, (value, n) => ({
    node: nodes[n] ?? String(n),
    x: peaks.data[2 * n],
    y: peaks.data[2 * n + 1],
    value,
  }));
}
