/* A fixed team of threads that walk through the phases of a step together.
 *
 * A phase is a number of units, each taken by one thread: first those of its own part of the phase, so that a part of the
 * rows stays with one thread and in its cache from phase to phase, then what others have left. It is over when all units
 * are done: not when all threads have come, so that a thread that the system has put aside holds nobody up unless it has
 * a unit in hand. The caller is thread 0. Between steps the others sleep; within a step they spin, and give way to others
 * when a wait takes long.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct Team Team;
typedef struct Phase Phase;
typedef struct Walk Walk;
typedef void (*Work)(Walk *walk, void *context);

struct Team {
    int size;
    pthread_t *threads;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    Work work;
    void *context;
    uint64_t generation;
    int stopping;
    char *arena;                        /* memory of the last step, for the next */
    size_t arena_bytes;
    Phase *phases;                      /* of this step, all zero at its begin */
    _Alignas(64) atomic_int unfinished;
};

enum { PARTS = 15 };    /* a phase fills one line of the cache; threads beyond share parts */

struct Phase {
    _Alignas(64) atomic_int done, taken[PARTS];
};

/* Where one thread is. */
struct Walk {
    Phase *phase;
    int thread, parts;
};

typedef struct { Team *team; int thread; } Member;

static void relax(unsigned *spins) {
    if (++*spins < 4096) __builtin_ia32_pause();
    else sched_yield();
}

static Walk begin(const Team *team, int thread) {
    return (Walk){team->phases, thread, team->size < PARTS ? team->size : PARTS};
}

/* The next units of the `units` of the present phase, `batch` at most: from the one returned to before `end`. -1: none. */
static int take(Walk *walk, int units, int batch, int *end) {
    for (int i = 0; i < walk->parts; i++) {
        const long part = (walk->thread + i) % walk->parts;
        const int begin = (int)(units * part / walk->parts), last = (int)(units * (part + 1) / walk->parts);
        const int first = begin + atomic_fetch_add_explicit(&walk->phase->taken[part], batch, memory_order_relaxed);
        if (first >= last) continue;
        *end = first + batch < last ? first + batch : last;
        return first;
    }
    return -1;
}

/* Says that `count` units taken are done; what they wrote is seen by whoever leaves the phase. */
static void finish(Walk *walk, int count) {
    atomic_fetch_add_explicit(&walk->phase->done, count, memory_order_release);
}

/* Waits until all `units` of the present phase are done, and goes on to the next. */
static void leave(Walk *walk, int units) {
    unsigned spins = 0;
    while (atomic_load_explicit(&walk->phase->done, memory_order_acquire) < units) relax(&spins);
    walk->phase++;
}

static void *member_main(void *argument) {
    Member member = *(Member *)argument;
    free(argument);
    Team *team = member.team;
    uint64_t seen = 0;
    for (;;) {
        pthread_mutex_lock(&team->mutex);
        while (team->generation == seen && !team->stopping) pthread_cond_wait(&team->wake, &team->mutex);
        seen = team->generation;
        int stopping = team->stopping;
        pthread_mutex_unlock(&team->mutex);
        if (stopping) return NULL;
        Walk walk = begin(team, member.thread);
        team->work(&walk, team->context);
        atomic_fetch_sub_explicit(&team->unfinished, 1, memory_order_release);
    }
}

/* Runs `work` on all threads and waits until each has walked through it; `phases` are at least as many as it has. */
static void run(Team *team, Work work, void *context, Phase *phases, int num_phases) {
    memset(phases, 0, sizeof(Phase) * (size_t)num_phases);
    team->phases = phases;
    atomic_store(&team->unfinished, team->size - 1);
    pthread_mutex_lock(&team->mutex);
    team->work = work;
    team->context = context;
    team->generation++;
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
    Walk walk = begin(team, 0);
    work(&walk, context);
    unsigned spins = 0;
    while (atomic_load_explicit(&team->unfinished, memory_order_acquire)) relax(&spins);
}

EXPORT void tessera_team_free(Team *team) {
    if (!team) return;
    pthread_mutex_lock(&team->mutex);
    team->stopping = 1;
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
    for (int i = 1; i < team->size; i++) pthread_join(team->threads[i], NULL);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->mutex);
    free(team->threads);
    free(team->arena);
    free(team);
}

/* Null when memory or threads are short. */
EXPORT Team *tessera_team_new(int size) {
    Team *team = aligned_alloc(64, sizeof(Team));
    if (!team) return NULL;
    memset(team, 0, sizeof *team);
    team->threads = calloc((size_t)size, sizeof(pthread_t));
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->wake, NULL);
    team->size = 1;
    for (int i = 1; team->threads && i < size; i++) {
        Member *member = malloc(sizeof *member);
        if (!member) break;
        *member = (Member){team, i};
        if (pthread_create(&team->threads[i], NULL, member_main, member)) { free(member); break; }
        team->size++;
    }
    if (team->size == size) return team;
    tessera_team_free(team);
    return NULL;
}
