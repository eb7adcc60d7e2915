// What cuda_emulator.h declares: memory as threads see it, and the turns they take.
#undef _FORTIFY_SOURCE   // which takes a jump to another stack for an error
#include "cuda_emulator.h"

#include <algorithm>
#include <random>
#include <unordered_map>

namespace emulator {

Thread* current = nullptr;
dim3 block_size, grid_size;
unsigned long progress = 0;

namespace {

// Something that was written to an address, by a thread's n-th write.
template <class Value> struct Version {
    unsigned thread, write;
    Value value;
};

// All that was written there, oldest first, and for each thread which of them it has found.
template <class Value> struct History {
    std::vector<Version<Value>> versions;
    std::unordered_map<unsigned, size_t> found;
};

jmp_buf scheduler;
void (*started)(void* const*);   // the kernel, and what it is given
void* const* given;
std::mt19937 draws;
template <class Value> std::unordered_map<const Value*, History<Value>> written;   // of halves, and of words
std::unordered_map<const int*, Bound> released;                                     // of a counter

void join(Bound& bound, const Bound& other) {
    for (size_t i = 0; i < bound.size(); ++i) bound[i] = std::max(bound[i], other[i]);
}

template <class Value> void written_at(Value* address, Value value) {
    auto& versions = written<Value>[address].versions;
    if (versions.empty()) versions.push_back({current->number, 0, *address});   // what was there, seen by all
    versions.push_back({current->number, ++current->writes, value});
    *address = value;
}

// Which of all that was written to an address is seen.
template <class Value> size_t seen(const std::vector<Version<Value>>& versions) {
    size_t oldest = versions.size() - 1;
    const auto bound = [&](const Version<Value>& v) {
        return v.write <= (v.thread == current->number ? current->writes : (*current->bound)[v.thread]);
    };
    while (!bound(versions[oldest])) --oldest;
    return draws() % 2 ? oldest : oldest + draws() % (versions.size() - oldest);
}

// Let a thread run until it gives way. Contexts are for its first turn only: each change of them asks the system for
// its signals, which took most of the time of a grid whose threads look for numbers.
void let(Thread* thread) {
    current = thread;
    if (_setjmp(scheduler) != 0) return;
    if (thread->begun) _longjmp(thread->place, 1);
    thread->begun = true;
    setcontext(&thread->context);
}

void enter() {
    ++current->block->begun;
    started(given);
    current->done = true;
    ++progress;
    give_way();
}

}   // namespace

void give_way() {
    if (_setjmp(current->place) == 0) _longjmp(scheduler, 1);
}

void write(unsigned short* address, unsigned short value) { written_at(address, value); }
void write(unsigned* address, unsigned value) { written_at(address, value); }

unsigned short read(const unsigned short* address) {
    const auto here = written<unsigned short>.find(address);
    if (here == written<unsigned short>.end()) return *address;
    return here->second.versions[seen(here->second.versions)].value;
}

unsigned look(const unsigned* address) {
    const auto here = written<unsigned>.find(address);
    if (here == written<unsigned>.end()) return *address;
    const auto& versions = here->second.versions;
    size_t& found = here->second.found[current->number];
    found = std::max(found, seen(versions));
    if (found + 1 < versions.size()) ++progress;   // who looks again may find more
    return versions[found].value;
}

void meet(Meeting& meeting, bool counts) {
    if (++meeting.arrived == meeting.size) {
        meeting.arrived = 0;
        ++meeting.generation;
        progress += counts;
        return;
    }
    current->waits_for = &meeting;
    current->generation = meeting.generation;
    give_way();
}

void arrive(Barrier& barrier) {
    if (barrier.joined != current->bound) {   // which most of a block have in common
        join(barrier.bound, *current->bound);
        barrier.joined = current->bound;
    }
    barrier.bound[current->number] = current->writes;
    current->generation = barrier.meeting.generation;
    if (++barrier.meeting.arrived < barrier.meeting.size) return;
    barrier.common = std::make_shared<Bound>(barrier.bound);
    barrier.meeting.arrived = 0;
    ++barrier.meeting.generation;
    ++progress;
}

void wait(Barrier& barrier) {
    if (current->generation == barrier.meeting.generation) {
        current->waits_for = &barrier.meeting;
        give_way();
    }
    current->bound = barrier.common;
}

void release(const int* counter) {
    Bound& bound = released[counter];
    bound.resize(current->bound->size());
    join(bound, *current->bound);
    bound[current->number] = current->writes;
}

void acquire(const int* counter) {
    const auto found = released.find(counter);
    if (found == released.end()) return;
    Bound bound = *current->bound;   // and what it wrote itself, it always sees
    join(bound, found->second);
    current->bound = std::make_shared<Bound>(std::move(bound));
}

int run(void (*body)(void* const*), void* const* arguments, dim3 grid, dim3 block, unsigned cluster,
        size_t shared_bytes, unsigned seed) {
    started = body;
    given = arguments;
    constexpr size_t STACK = 1 << 16, GUARD = 64;
    grid_size = grid;
    block_size = block;
    draws.seed(seed);
    written<unsigned short>.clear();
    written<unsigned>.clear();
    released.clear();
    const Bound nothing(size_t{grid.x} * grid.y * grid.z * block.x);
    const size_t vectors = (shared_bytes + 15) / 16;
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<Block*> in_order;   // of their numbers, so that clusters stand together
    std::vector<std::unique_ptr<Barrier>> barriers;
    std::vector<std::unique_ptr<Thread>> threads;
    const auto barrier = [&](unsigned size) { return Barrier{{static_cast<int>(size)}, nothing, {}}; };
    in_order.reserve(nothing.size() / block.x);
    for (unsigned n = 0; n < grid.x * grid.y * grid.z; ++n) {
        if (n % cluster == 0) barriers.push_back(std::make_unique<Barrier>(barrier(cluster * block.x)));
        const auto together = in_order.data() + n / cluster * cluster;
        blocks.push_back(std::make_unique<Block>(Block{barrier(block.x), barriers.back().get(), together}));
        in_order.push_back(blocks.back().get());
        Block& here = *blocks.back();
        here.shared.assign(vectors + GUARD, uint4{~0u, ~0u, ~0u, ~0u});
        here.warps.resize(block.x / 32);
        for (unsigned i = 0; i < block.x; ++i) {
            auto thread = std::make_unique<Thread>();
            thread->stack.reset(new char[STACK]);
            thread->block = &here;
            thread->thread_index = {i, 0, 0};
            thread->number = threads.size();
            thread->bound = std::make_shared<Bound>(nothing);
            thread->block_index = {n % grid.x, n / grid.x % grid.y, n / grid.x / grid.y};
            getcontext(&thread->context);
            thread->context.uc_stack.ss_sp = thread->stack.get();
            thread->context.uc_stack.ss_size = STACK;
            thread->context.uc_link = nullptr;
            makecontext(&thread->context, enter, 0);
            here.live.push_back(thread.get());
            threads.push_back(std::move(thread));
        }
    }
    std::vector<size_t> order(blocks.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), draws);
    unsigned in_vain = 0;   // times that nobody at all got on; a warp that looks for something does so in a few of them
    for (size_t place = 0; in_vain < 8; place = place < order.size() ? place : 0) {
        auto& live = blocks[order[place]]->live;
        std::shuffle(live.begin(), live.end(), draws);
        const unsigned long before = progress;
        for (Thread* thread : live) {
            if (thread->waits_for != nullptr && thread->waits_for->generation == thread->generation) continue;
            thread->waits_for = nullptr;
            let(thread);
        }
        live.erase(std::remove_if(live.begin(), live.end(), [](Thread* t) { return t->done; }), live.end());
        if (progress == before) {
            ++place;   // it waits, or has ended: the next one's turn
            in_vain += place == order.size();
        } else {
            place = in_vain = 0;
            if (draws() % 256 < seed % 4) std::shuffle(order.begin(), order.end(), draws);
        }
    }
    for (const auto& one : blocks) {
        if (!one->live.empty()) return 1;
        if (one->missed) return 3;
        for (size_t i = vectors; i < one->shared.size(); ++i) {
            const uint4 guard = one->shared[i];
            if (~(guard.x & guard.y & guard.z & guard.w)) return 2;
        }
    }
    return 0;
}

}   // namespace emulator
