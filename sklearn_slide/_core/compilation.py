"""How kernels are compiled, and how a kernel is chosen by the type of its state.

A kernel is serial and releases the GIL, so that joblib threads may run it side by side on shared
arrays. Kernels that run in parallel themselves (``parallel=True``) are not used: Numba's threading
layers abort or hang when Python threads, forks or process pools meet them.
"""

import contextlib
import functools
import gc
import hashlib
import inspect
import warnings

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, event, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.extending import intrinsic, overload

# Sums may be reordered and products fused, as vector units need; NaN and infinity stay what they are.
_OPTIONS = {
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"},
    "error_model": "numpy",
}
# Without the glue that lets Python and C call a kernel: a quarter of the time of compilation. Inlined, lest
# a process that compiles a kernel links it to other copies of its parts than one that loads it, which may
# round otherwise.
INNER_OPTIONS = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}


def njit(function):
    """Compile a kernel that Python calls, cached on disk where a cache folder can be written."""
    return _compile(function, _OPTIONS)


def inner(function):
    """Compile a kernel that other kernels call, and Python never."""
    return _compile(function, INNER_OPTIONS)


def _compile(function, options):
    kernel = numba.njit(**options)(function)
    try:
        kernel._cache = _KernelCache(function)
    except RuntimeError:  # no folder can be written: a read-only home and a read-only installation
        _warn_once(
            "No folder can be written to keep compiled kernels in, so that every process compiles them anew. "
            "Set the environment variable NUMBA_CACHE_DIR to a folder that can be written to."
        )
    return kernel


class _KernelCache(FunctionCache):
    """Numba's cache of a kernel on disk. What cannot be read or written there is compiled anew."""

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = _KernelFiles(
            self.cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def load_overload(self, sig, target_context):
        kernel = None
        try:
            kernel = super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file may fail to load in any way
            self._give_up_on_file("read", error)
        if kernel is None and _Telling.wanted:
            _Telling.wanted, _Telling.done = False, True
            place = self.cache_path
            print(
                f"Compiling kernels, once for this machine and version; they are kept in {place}.", flush=True
            )
        return kernel

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._give_up_on_file("written", error)

    def _give_up_on_file(self, verb, error):
        _warn_once(
            f"A kernel could not be {verb} in {self.cache_path} ({type(error).__name__}: {error}); it "
            "is compiled anew. Remove the folder if this comes again."
        )
        with contextlib.suppress(Exception):
            self.flush()


class _KernelFiles(IndexDataCacheFile):
    """The index of a kernel's compiled forms, and a file for each, named by what it was compiled from.

    Numba numbers the files. Of two processes that compile two forms at once, both may take the same number:
    the index then gives the code of one form to the arguments of the other, which fails or crashes.
    """

    def save(self, key, data):
        """Enter a form of this key: its signature, processor and digests of its bytecode."""
        forms = self._load_index()
        digest = hashlib.sha256(repr((self._source_stamp, key)).encode()).hexdigest()[:16]
        name = f"{self._index_name.removesuffix('.nbi')}.{digest}.nbc"
        self._save_data(name, data)
        if forms.get(key) != name:
            self._save_index({**forms, key: name})


class _Pause(event.Listener):
    """Pauses the search for cycles of unused objects while a kernel of this package is compiled.

    Compilation makes objects by the million, and nearly all stay in use until it is done: the search takes a
    twelfth of its time, and finds little. Numba's lock keeps threads from compiling at once.
    """

    def __init__(self):
        self._depth, self._was_enabled = 0, False

    def on_start(self, started):
        if not self._depth and not _is_own(started):
            return
        self._depth += 1
        if self._depth == 1:
            self._was_enabled = gc.isenabled()
            gc.disable()

    def on_end(self, ended):
        if self._depth:
            self._depth -= 1
            if not self._depth and self._was_enabled:
                gc.enable()


def _is_own(compilation):
    """Tell whether an event of Numba's is about a kernel of this package."""
    function = getattr((compilation.data or {}).get("dispatcher"), "py_func", None)
    module = getattr(function, "__module__", None)  # Numba makes some from text, of no module
    return module is not None and module.startswith("sklearn_slide.")


event.register("numba:compile", _Pause())


class _Telling:
    """Whether a line about compilation is wanted, and was printed: one in each process."""

    wanted, done = False, False


def tell_of_compilation(verbose):
    """Say whether a line shall be printed when the next kernel is compiled, unless there was one."""
    _Telling.wanted = bool(verbose) and not _Telling.done


@functools.cache
def _warn_once(message):
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def by_type(stub):
    """Turn a stub into a kernel that is chosen by the class of its first argument.

    The class is that of a NamedTuple, or np.ndarray. ``@stub.register(Class)`` gives its kernel; the stub's
    docstring tells what they have in common. Only the kernels of those classes that are met are compiled, and
    a class without a kernel is a TypingError.
    """
    kernels = {}

    @functools.wraps(stub)
    def chosen(state, *args):
        cls = np.ndarray if isinstance(state, np.ndarray) else type(state)
        return kernels[cls](state, *args)

    def choose(state, *args):
        del args
        cls = np.ndarray if isinstance(state, types.Array) else getattr(state, "instance_class", state)
        if cls not in kernels:
            raise numba.errors.TypingError(f"{stub.__name__} has no kernel for {cls}.")
        return kernels[cls]

    def register(cls):
        def enter(function):
            if list(inspect.signature(function).parameters) != list(inspect.signature(stub).parameters):
                raise TypeError(f"{function.__name__} must have the parameters of {stub.__name__}.")
            kernels[cls] = function
            return function

        return enter

    if numba.config.DISABLE_JIT:
        stub = chosen
    else:
        overload(stub, strict=False, jit_options=INNER_OPTIONS)(choose)
    stub.register, stub.kernels = register, kernels
    return stub


def check_complete(classes, stub, attributes):
    """Refuse what is half added: each class, by its name, needs these attributes and a kernel of a stub."""
    for name, cls in classes.items():
        absent = [attribute for attribute in attributes if not hasattr(cls, attribute)]
        if cls not in stub.kernels:
            absent.append(f"a kernel, by @{stub.__name__}.register({cls.__name__})")
        if absent:
            raise TypeError(f"{name!r} is half added: {cls.__name__} lacks {', '.join(absent)}.")


def prefetch(array, place):
    """Ask the memory for array[place], of a 1-D contiguous array, and do not wait for it."""


@intrinsic
def _prefetch(typing_context, array, place):
    """Make the processor's instruction for it."""

    def generate(context, builder, signature, args):
        place = context.cast(builder, args[1], signature.args[1], types.intp)
        address = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [place])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # to read, to be kept in all caches, data
        builder.call(function, [builder.bitcast(address, byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, place), generate


@overload(prefetch, strict=False, jit_options=INNER_OPTIONS)
def _use_prefetch(array, place):
    return lambda array, place: _prefetch(array, place)


def float_of_bits(bits):
    """Return the float32 of these bits, int32."""


@intrinsic
def _float_of_bits(typing_context, bits):
    """Make no instruction: to the processor both are the same."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


@overload(float_of_bits, strict=False, jit_options=INNER_OPTIONS)
def _use_float_of_bits(bits):
    return lambda bits: _float_of_bits(bits)


def as_writable(state):
    """Return a tree of tuples with its read-only arrays claimed to be writable, without a copy.

    For kernels that only read: to Numba a read-only array is another type, for which it compiles anew.
    """
    if isinstance(state, np.ndarray):
        return state if state.flags.writeable else np.asarray(_Claim(state))
    if isinstance(state, tuple):
        parts = map(as_writable, state)
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


class _Claim:
    """The memory of an array, said to be writable."""

    def __init__(self, array):
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
        self._owner = array
