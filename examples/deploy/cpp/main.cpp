// Points of one image, with nothing but ONNX Runtime: pose model.onnx frame.ppm (a binary PGM or PPM of 8 bits)
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {  // planes: channels x height x width
  int64_t channels, height, width;
  std::vector<uint8_t> planes;
};

int64_t read_number(std::istream& file) {  // of a header, in which comments may stand
  while ((file >> std::ws).peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  int64_t number = 0;
  if (!(file >> number) || number < 1 || number > 65535) throw std::runtime_error("the image's header is malformed");
  return number;
}

Image read_pnm(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic(2, ' ');
  if (!file.read(magic.data(), 2) || (magic != "P5" && magic != "P6"))
    throw std::runtime_error(path.string() + " cannot be read as a binary PGM or PPM image");
  const int64_t channels = magic == "P6" ? 3 : 1, width = read_number(file), height = read_number(file);
  if (read_number(file) != 255) throw std::runtime_error(path.string() + " has other than 8 bits");
  file.get();  // the one space after the header
  std::vector<uint8_t> pixels(channels * height * width), planes(pixels.size());
  if (!file.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(pixels.size())))
    throw std::runtime_error(path.string() + " ends too early");
  for (size_t i = 0; i < pixels.size(); ++i) planes[i % channels * height * width + i / channels] = pixels[i];
  return {channels, height, width, std::move(planes)};
}

std::vector<std::string> read_node_names(const Ort::Session& session) {  // "nodes": ["head", ...] in the metadata
  Ort::AllocatorWithDefaultOptions allocator;
  const auto found = session.GetModelMetadata().LookupCustomMetadataMapAllocated("sleap_infer", allocator);
  const std::string facts = found ? found.get() : "", key = "\"nodes\": [";
  std::vector<std::string> names;
  const auto at = facts.find(key);
  if (at == std::string::npos) return names;  // then they are numbered
  const std::regex name(R"re(\s*"((?:[^"\\]|\\.)*)",?)re");
  std::sregex_iterator i(facts.begin() + at + key.size(), facts.end(), name, std::regex_constants::match_continuous);
  for (; i != std::sregex_iterator{}; ++i) names.push_back((*i)[1]);
  return names;
}

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("usage: pose model.onnx frame.ppm");
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "pose");
  Ort::Session session(env, std::filesystem::path(argv[1]).c_str(), Ort::SessionOptions{});
  Image image = read_pnm(argv[2]);
  const std::array shape{int64_t{1}, image.channels, image.height, image.width};
  const auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto input = Ort::Value::CreateTensor(cpu, image.planes.data(), image.planes.size(), shape.data(), 4);
  const auto input_name = session.GetInputNameAllocated(0, Ort::AllocatorWithDefaultOptions{});
  const std::array inputs{static_cast<const char*>(input_name.get())};  // peak_threshold has a default
  const std::array outputs{"peaks", "peak_vals"};
  const auto found = session.Run(Ort::RunOptions{}, inputs.data(), &input, 1, outputs.data(), outputs.size());
  if (found[0].GetTensorTypeAndShapeInfo().GetDimensionsCount() != 3)
    throw std::runtime_error("the graph finds several animals; this program reads peaks (batch, nodes, 2)");
  const auto names = read_node_names(session);
  const float *xy = found[0].GetTensorData<float>(), *value = found[1].GetTensorData<float>();
  for (size_t n = 0; n < found[1].GetTensorTypeAndShapeInfo().GetElementCount(); ++n) {
    const auto name = n < names.size() ? names[n] : std::to_string(n);
    std::printf("%s %.3f %.3f %.3f\n", name.c_str(), xy[2 * n], xy[2 * n + 1], value[n]);
  }
} catch (const std::exception& error) {  // Ort::Exception too
  std::fprintf(stderr, "pose: %s\n", error.what());
  return 1;
}
