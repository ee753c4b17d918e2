"""The native driver as LLVM IR text: runs a table of kernels, alone or together with waiting workers.

A job is five words: table, first and last entry, pool (or 0), workers wanted. A table has a row an entry:
function, arguments, bytes between the arguments of one worker and the next, extent, grain, flags. A pool is one
block of memory, its fields on cache lines of their own:

    word      generation * 256 + workers of the job that is offered (0 workers: go home); idle workers wait for it
    arrived   workers at the barrier; `generation` of the barrier goes up when all are there
    failed    the first entry known to have failed, all ones for none
    busy      1 while a job runs: another caller then runs alone
    live      workers there are, the caller's own thread counted; `ready` those that have ever begun to wait
    spin      how often a waiting worker looks before it sleeps, at most; at least a quarter of it

An entry of extent `e` and grain `g` is cut into units of `g`; of m = min(workers, units) workers, number k takes
units k * units / m to (k + 1) * units / m. Entries that worker 0 does alone need no barrier among each other.
"""

from __future__ import annotations

from string import Template

from staticnet.runtime.native.system_text import system_text

#: words of a job, of a table's row, and of a pool
JOB = ("table", "first", "last", "pool", "workers")
ROW = ("function", "arguments", "stride", "extent", "grain", "flags")
_LINE = 128
POOL = {
    "word": 0,
    "idle": 1 * _LINE,
    "arrived": 2 * _LINE,
    "generation": 3 * _LINE,
    "waiting": 4 * _LINE,
    "table": 5 * _LINE,
    "first": 5 * _LINE + 8,
    "last": 5 * _LINE + 16,
    "failed": 6 * _LINE,
    "busy": 7 * _LINE,
    "live": 8 * _LINE,
    "spin": 8 * _LINE + 8,
    "ready": 9 * _LINE,
}
POOL_BYTES = 10 * _LINE
#: flag of an entry: it and the next one are of one group; no entry of a group touches what another of it writes
INDEPENDENT = 1
#: the word of a job has eight bits for it
MOST_WORKERS = 255

_ALONE = """
define internal i64 @alone(ptr %table, i64 %first, i64 %last) nounwind noinline {
entry:
  %some = icmp slt i64 %first, %last
  br i1 %some, label %loop, label %fine
loop:
  %index = phi i64 [ %first, %entry ], [ %following, %next ]
  %failed = call i1 @call_row(ptr %table, i64 %index, i64 0, i64 1)
  br i1 %failed, label %bad, label %next
next:
  %following = add i64 %index, 1
  %more = icmp slt i64 %following, %last
  br i1 %more, label %loop, label %fine
bad:
  ret i64 %index
fine:
  ret i64 -1
}

; how many of the workers take part in an entry
define internal i64 @sharers(ptr %table, i64 %index, i64 %workers) nounwind noinline {
  %extent.p = getelementptr [6 x i64], ptr %table, i64 %index, i64 3
  %grain.p = getelementptr [6 x i64], ptr %table, i64 %index, i64 4
  %extent = load i64, ptr %extent.p
  %grain = load i64, ptr %grain.p
  %above = add i64 %extent, %grain
  %upper = sub i64 %above, 1
  %units = udiv i64 %upper, %grain
  %least = call i64 @llvm.umin.i64(i64 %units, i64 %workers)
  %sharers = call i64 @llvm.umax.i64(i64 %least, i64 1)
  ret i64 %sharers
}

; one worker's part of an entry; true when the kernel failed
define internal i1 @call_row(ptr %table, i64 %index, i64 %worker, i64 %sharers) nounwind noinline {
entry:
  %row = getelementptr [6 x i64], ptr %table, i64 %index
  %arguments.p = getelementptr i64, ptr %row, i64 1
  %stride.p = getelementptr i64, ptr %row, i64 2
  %extent.p = getelementptr i64, ptr %row, i64 3
  %grain.p = getelementptr i64, ptr %row, i64 4
  %function = load ptr, ptr %row
  %base = load ptr, ptr %arguments.p
  %extent = load i64, ptr %extent.p
  %is_alone = icmp eq i64 %sharers, 1
  br i1 %is_alone, label %whole, label %part
whole:
  %result = call i32 %function(ptr %base, i64 0, i64 %extent)
  %failed = icmp ne i32 %result, 0
  ret i1 %failed
part:
  %stride = load i64, ptr %stride.p
  %grain = load i64, ptr %grain.p
  %above = add i64 %extent, %grain
  %upper = sub i64 %above, 1
  %units = udiv i64 %upper, %grain
  %next_worker = add i64 %worker, 1
  %share0 = mul i64 %units, %worker
  %share1 = mul i64 %units, %next_worker
  %unit0 = udiv i64 %share0, %sharers
  %unit1 = udiv i64 %share1, %sharers
  %begin = mul i64 %unit0, %grain
  %beyond = mul i64 %unit1, %grain
  %end = call i64 @llvm.umin.i64(i64 %beyond, i64 %extent)
  %shift = mul i64 %stride, %worker
  %own = getelementptr i8, ptr %base, i64 %shift
  %part_result = call i32 %function(ptr %own, i64 %begin, i64 %end)
  %part_failed = icmp ne i32 %part_result, 0
  ret i1 %part_failed
}
"""

_TOGETHER = """
; wait until a word is no longer `old`: look up to `budget` times, then sleep. The budget for the next time:
; twice as much when looking was enough, else half, but no less than it takes to wake another worker: if all
; gave up sooner, each would sleep by the time the next had awoken
define internal i64 @await(ptr %pool, ptr %word, i32 %old, ptr %sleepers, i64 %budget) nounwind noinline {
entry:
  br label %look
look:
  %times = phi i64 [ 0, %entry ], [ %times1, %again ]
  %now = load atomic i32, ptr %word acquire, align 4
  %changed = icmp ne i32 %now, %old
  br i1 %changed, label %soon, label %again
again:
  call void @pause()
  %times1 = add i64 %times, 1
  %more = icmp ult i64 %times1, %budget
  br i1 %more, label %look, label %late
soon:
  %most.p = getelementptr i8, ptr %pool, i64 $spin
  %most = load atomic i64, ptr %most.p monotonic, align 8
  %twice = shl i64 %budget, 1
  %raised = call i64 @llvm.umin.i64(i64 %twice, i64 %most)
  ret i64 %raised
late:
  %before = atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %check
check:
  %value = load atomic i32, ptr %word seq_cst, align 4
  %is_over = icmp ne i32 %value, %old
  br i1 %is_over, label %awake, label %rest
rest:
  call void @sleep(ptr %word, i32 %old)
  br label %check
awake:
  %still = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  %half = lshr i64 %budget, 1
  %limit.p = getelementptr i8, ptr %pool, i64 $spin
  %limit = load atomic i64, ptr %limit.p monotonic, align 8
  %least = lshr i64 %limit, 2
  %lowered = call i64 @llvm.umax.i64(i64 %half, i64 %least)
  ret i64 %lowered
}

define internal void @publish(ptr %word, i32 %value, ptr %sleepers) nounwind noinline {
entry:
  store atomic i32 %value, ptr %word seq_cst, align 4
  %count = load atomic i32, ptr %sleepers seq_cst, align 4
  %some = icmp ne i32 %count, 0
  br i1 %some, label %rouse, label %done
rouse:
  call void @wake(ptr %word)
  br label %done
done:
  ret void
}

define internal i64 @barrier(ptr %pool, i64 %workers, i64 %budget) nounwind noinline {
entry:
  %arrived.p = getelementptr i8, ptr %pool, i64 $arrived
  %generation.p = getelementptr i8, ptr %pool, i64 $generation
  %waiting.p = getelementptr i8, ptr %pool, i64 $waiting
  %generation = load atomic i32, ptr %generation.p acquire, align 4
  %before = atomicrmw add ptr %arrived.p, i32 1 acq_rel
  %count = add i32 %before, 1
  %all = trunc i64 %workers to i32
  %is_last = icmp eq i32 %count, %all
  br i1 %is_last, label %open, label %wait
open:
  store atomic i32 0, ptr %arrived.p monotonic, align 4
  %next = add i32 %generation, 1
  call void @publish(ptr %generation.p, i32 %next, ptr %waiting.p)
  ret i64 %budget
wait:
  %changed = call i64 @await(ptr %pool, ptr %generation.p, i32 %generation, ptr %waiting.p, i64 %budget)
  ret i64 %changed
}

; one worker's way through the table. Since the last barrier: `shared`, whether an entry was shared; `mixed`, whether
; there were several groups, all of worker 0: what then is shared may need any of them, so a group ends there
define internal i64 @together(ptr %pool, ptr %table, i64 %first, i64 %last, i64 %worker, i64 %workers, i64 %budget0)
    nounwind noinline {
entry:
  %failed.p = getelementptr i8, ptr %pool, i64 $failed
  %some = icmp slt i64 %first, %last
  br i1 %some, label %begin, label %finish0
begin:
  %sharers0 = call i64 @sharers(ptr %table, i64 %first, i64 %workers)
  br label %loop
loop:
  %index = phi i64 [ %first, %begin ], [ %following, %proceed ]
  %sharers = phi i64 [ %sharers0, %begin ], [ %sharers1, %proceed ]
  %shared = phi i1 [ false, %begin ], [ %shared2, %proceed ]
  %mixed = phi i1 [ false, %begin ], [ %mixed2, %proceed ]
  %skips = phi i1 [ false, %begin ], [ %skips2, %proceed ]
  %budget = phi i64 [ %budget0, %begin ], [ %budget2, %proceed ]
  %following = add i64 %index, 1
  %takes_part = icmp ult i64 %worker, %sharers
  %is_in_order = xor i1 %skips, true
  %works = and i1 %takes_part, %is_in_order
  br i1 %works, label %work, label %after
work:
  %fails = call i1 @call_row(ptr %table, i64 %index, i64 %worker, i64 %sharers)
  br i1 %fails, label %fail, label %after
fail:
  %known = atomicrmw umin ptr %failed.p, i64 %index acq_rel
  br label %after
after:
  %skips1 = phi i1 [ %skips, %loop ], [ false, %work ], [ true, %fail ]
  %is_shared = icmp ugt i64 %sharers, 1
  %shared1 = or i1 %shared, %is_shared
  %more = icmp slt i64 %following, %last
  br i1 %more, label %ahead, label %finish
ahead:
  %sharers1 = call i64 @sharers(ptr %table, i64 %following, i64 %workers)
  %next_shared = icmp ugt i64 %sharers1, 1
  %flags.p = getelementptr [6 x i64], ptr %table, i64 %index, i64 5
  %flags = load i64, ptr %flags.p
  %flag = and i64 %flags, $independent
  %is_other_group = icmp eq i64 %flag, 0
  %mixed1 = or i1 %mixed, %is_other_group
  %crosses = or i1 %shared1, %next_shared
  %meets = and i1 %crosses, %mixed1
  br i1 %meets, label %meet, label %proceed
meet:
  %budget1 = call i64 @barrier(ptr %pool, i64 %workers, i64 %budget)
  %failed = load atomic i64, ptr %failed.p acquire, align 8
  %stops = icmp ule i64 %failed, %index
  br i1 %stops, label %finish, label %proceed
proceed:
  %shared2 = phi i1 [ %shared1, %ahead ], [ false, %meet ]
  %mixed2 = phi i1 [ %mixed1, %ahead ], [ false, %meet ]
  %skips2 = phi i1 [ %skips1, %ahead ], [ false, %meet ]
  %budget2 = phi i64 [ %budget, %ahead ], [ %budget1, %meet ]
  br label %loop
finish:
  %budget3 = phi i64 [ %budget, %after ], [ %budget1, %meet ]
  br label %finish0
finish0:
  %budget4 = phi i64 [ %budget0, %entry ], [ %budget3, %finish ]
  %budget5 = call i64 @barrier(ptr %pool, i64 %workers, i64 %budget4)
  ret i64 %budget5
}
"""

_ENTRANCES = """
define internal i64 @run(ptr %job) nounwind {
entry:
  %first.p = getelementptr i64, ptr %job, i64 1
  %last.p = getelementptr i64, ptr %job, i64 2
  %pool.p = getelementptr i64, ptr %job, i64 3
  %workers.p = getelementptr i64, ptr %job, i64 4
  %table = load ptr, ptr %job
  %first = load i64, ptr %first.p
  %last = load i64, ptr %last.p
  %pool = load ptr, ptr %pool.p
  %wanted = load i64, ptr %workers.p
  %arithmetic = call i64 @usual_arithmetic()
  %has_pool = icmp ne ptr %pool, null
  %is_many = icmp ugt i64 %wanted, 1
  %tries = and i1 %has_pool, %is_many
  br i1 %tries, label %count, label %alone
count:
  %live.p = getelementptr i8, ptr %pool, i64 $live
  %live = load atomic i32, ptr %live.p acquire, align 4
  %live64 = zext i32 %live to i64
  %workers = call i64 @llvm.umin.i64(i64 %wanted, i64 %live64)
  %has_workers = icmp ugt i64 %workers, 1
  br i1 %has_workers, label %claim, label %alone
claim:
  %busy.p = getelementptr i8, ptr %pool, i64 $busy
  %claimed = cmpxchg ptr %busy.p, i32 0, i32 1 acq_rel monotonic
  %is_ours = extractvalue { i32, i1 } %claimed, 1
  br i1 %is_ours, label %recount, label %alone
recount:
  ; workers may have gone home before the claim, never after it
  %live1 = load atomic i32, ptr %live.p acquire, align 4
  %live164 = zext i32 %live1 to i64
  %workers1 = call i64 @llvm.umin.i64(i64 %wanted, i64 %live164)
  %table.p = getelementptr i8, ptr %pool, i64 $table
  %pfirst.p = getelementptr i8, ptr %pool, i64 $first
  %plast.p = getelementptr i8, ptr %pool, i64 $last
  %failed.p = getelementptr i8, ptr %pool, i64 $failed
  %idle.p = getelementptr i8, ptr %pool, i64 $idle
  %spin.p = getelementptr i8, ptr %pool, i64 $spin
  store ptr %table, ptr %table.p
  store i64 %first, ptr %pfirst.p
  store i64 %last, ptr %plast.p
  store i64 -1, ptr %failed.p
  %word = call i32 @next_word(ptr %pool, i64 %workers1)
  call void @publish(ptr %pool, i32 %word, ptr %idle.p)
  %spin = load atomic i64, ptr %spin.p monotonic, align 8
  %unused = call i64 @together(ptr %pool, ptr %table, i64 %first, i64 %last, i64 0, i64 %workers1, i64 %spin)
  %failed = load atomic i64, ptr %failed.p acquire, align 8
  store atomic i32 0, ptr %busy.p release, align 4
  call void @restore_arithmetic(i64 %arithmetic)
  ret i64 %failed
alone:
  %result = call i64 @alone(ptr %table, i64 %first, i64 %last)
  call void @restore_arithmetic(i64 %arithmetic)
  ret i64 %result
}

define internal i32 @next_word(ptr %pool, i64 %workers) nounwind noinline {
  %old = load atomic i32, ptr %pool monotonic, align 4
  %generation = and i32 %old, -256
  %next = add i32 %generation, 256
  %count = trunc i64 %workers to i32
  %word = or i32 %next, %count
  ret i32 %word
}

; what a worker does until it is sent home; `seen` is the pool's word from before it was started
define internal i64 @work(ptr %pool, i64 %worker, i64 %seen) nounwind {
entry:
  %arithmetic = call i64 @usual_arithmetic()
  %ready.p = getelementptr i8, ptr %pool, i64 $ready
  %idle.p = getelementptr i8, ptr %pool, i64 $idle
  %table.p = getelementptr i8, ptr %pool, i64 $table
  %first.p = getelementptr i8, ptr %pool, i64 $first
  %last.p = getelementptr i8, ptr %pool, i64 $last
  %seen0 = trunc i64 %seen to i32
  %number = atomicrmw add ptr %ready.p, i32 1 seq_cst
  br label %wait
wait:
  %old = phi i32 [ %seen0, %entry ], [ %word, %got ], [ %word, %join ]
  %budget = phi i64 [ 1, %entry ], [ %budget1, %got ], [ %budget2, %join ]
  %budget1 = call i64 @await(ptr %pool, ptr %pool, i32 %old, ptr %idle.p, i64 %budget)
  %word = load atomic i32, ptr %pool seq_cst, align 4
  %count = and i32 %word, 255
  %is_over = icmp eq i32 %count, 0
  br i1 %is_over, label %home, label %got
got:
  %workers = zext i32 %count to i64
  %takes_part = icmp ult i64 %worker, %workers
  br i1 %takes_part, label %join, label %wait
join:
  %table = load ptr, ptr %table.p
  %first = load i64, ptr %first.p
  %last = load i64, ptr %last.p
  %budget2 = call i64 @together(ptr %pool, ptr %table, i64 %first, i64 %last, i64 %worker, i64 %workers, i64 %budget1)
  br label %wait
home:
  call void @restore_arithmetic(i64 %arithmetic)
  ret i64 0
}

; send all workers home; 0 when a job is running
define internal i64 @dismiss(ptr %pool) nounwind {
entry:
  %busy.p = getelementptr i8, ptr %pool, i64 $busy
  %idle.p = getelementptr i8, ptr %pool, i64 $idle
  %live.p = getelementptr i8, ptr %pool, i64 $live
  %claimed = cmpxchg ptr %busy.p, i32 0, i32 1 acq_rel monotonic
  %is_ours = extractvalue { i32, i1 } %claimed, 1
  br i1 %is_ours, label %send, label %busy
send:
  store atomic i32 1, ptr %live.p seq_cst, align 4
  %word = call i32 @next_word(ptr %pool, i64 0)
  call void @publish(ptr %pool, i32 %word, ptr %idle.p)
  store atomic i32 0, ptr %busy.p release, align 4
  ret i64 1
busy:
  ret i64 0
}

; the addresses of the three: 0 run, 1 work, 2 dismiss
define ptr @$symbol(i64 %number) nounwind {
  %is_run = icmp eq i64 %number, 0
  %is_work = icmp eq i64 %number, 1
  %other = select i1 %is_work, ptr @work, ptr @dismiss
  %function = select i1 %is_run, ptr @run, ptr %other
  ret ptr %function
}
"""

_COMMON = "declare i64 @llvm.umin.i64(i64, i64)\ndeclare i64 @llvm.umax.i64(i64, i64)\n"
SYMBOL = "staticnet_driver"


def driver_text(triple: str) -> str:
    """The driver for a processor and system that LLVM names so; raises CompilerError for those not provided for."""
    text = "".join((_COMMON, system_text(triple), _ALONE, _TOGETHER, _ENTRANCES))
    names = {name: place for name, place in POOL.items() if name != "word"}
    return Template(text).substitute(names, independent=INDEPENDENT, symbol=SYMBOL)
