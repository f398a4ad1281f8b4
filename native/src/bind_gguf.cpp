#include <nanobind/nanobind.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "bindings.hpp"
#include "gguf.hpp"

namespace nb = nanobind;
namespace gguf = foredraft::gguf;

namespace {

using Make = PyObject* (*)(const char* at);

template <class T>
PyObject* number(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  if constexpr (std::is_floating_point_v<T>) return PyFloat_FromDouble(value);
  else if constexpr (std::is_signed_v<T>) return PyLong_FromLongLong(value);
  else return PyLong_FromUnsignedLongLong(value);
}

PyObject* truth(const char* at) { return PyBool_FromLong(*at != 0); }

Make maker(uint32_t kind) {
  constexpr Make MAKERS[] = {number<uint8_t>, number<int8_t>,  number<uint16_t>, number<int16_t>, number<uint32_t>,
                             number<int32_t>, number<float>,   truth,            nullptr,         nullptr,
                             number<uint64_t>, number<int64_t>, number<double>};
  return MAKERS[kind];
}

nb::object owned(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

nb::object text(std::string_view bytes) {
  return owned(PyUnicode_DecodeUTF8(bytes.data(), Py_ssize_t(bytes.size()), "replace"));
}

// The C interface fills a list in place: a vocabulary and its merges are some 300,000 strings.
nb::object list_of(const gguf::Header& header, const gguf::Value& value) {
  nb::object list = owned(PyList_New(Py_ssize_t(value.count)));
  size_t at = value.items.at;
  for (size_t i = 0; i < value.count; ++i) {
    nb::object item;
    if (value.kind == gguf::string) item = text(gguf::next_string(header, at));
    else item = owned(maker(value.kind)(header.view(value.items).data() + i * gguf::size_of(value.kind)));
    PyList_SET_ITEM(list.ptr(), Py_ssize_t(i), item.release().ptr());
  }
  return list;
}

nb::object value_of(const gguf::Header& header, const gguf::Value& value) {
  if (value.is_array) return list_of(header, value);
  const std::string_view bytes = header.view(value.items);
  return value.kind == gguf::string ? text(bytes) : owned(maker(value.kind)(bytes.data()));
}

nb::tuple entry_of(const gguf::Header& header, const gguf::Tensor& tensor) {
  nb::list shape;
  for (uint32_t i = 0; i < tensor.dimensions; ++i) shape.append(tensor.shape[i]);
  return nb::make_tuple(text(header.view(tensor.name)), nb::tuple(shape), tensor.kind, tensor.offset);
}

gguf::Header read(int file, size_t largest, size_t most) {
  try {
    const Away away;
    return gguf::read_header(file, largest, most);
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrno(PyExc_OSError);
    throw nb::python_error();
  }
}

nb::tuple contents(int file, size_t largest, size_t most) {
  const gguf::Header header = read(file, largest, most);
  nb::list keys, tensors;
  for (const gguf::Key& key : header.keys)
    keys.append(nb::make_tuple(text(header.view(key.name)), value_of(header, key.value)));
  for (const gguf::Tensor& tensor : header.tensors) tensors.append(entry_of(header, tensor));
  return nb::make_tuple(keys, tensors, header.end);
}

}  // namespace

void bind_gguf(nb::module_& module) {
  module.def("gguf_contents", contents, nb::arg("file"), nb::arg("largest"), nb::arg("most"),
             "What the header of a GGUF file holds: [(key, value)], [(name, shape, type, offset)], the bytes it takes."
             " ValueError with the end of a sentence when it is damaged; OSError.");
}
