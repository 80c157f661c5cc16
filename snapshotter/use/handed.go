// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"sync"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// handed remembers when mounts were handed out, and of what: between that and the mount itself nothing shows that the
// nodes are in use.
type handed struct {
	grace time.Duration
	mu    sync.Mutex
	at    map[string]*handout
	clock wallClock
}

type handout struct {
	time time.Time
	// dated: the times of events can be compared with this one, because the clock was not set back shortly before.
	dated    bool
	nodes    []dag.NodeID
	released chan struct{}
}

// late is how long an event may be on its way.
const late = time.Minute

// wallClock notices when the clock of the machine is set back.
type wallClock struct {
	start   time.Time
	ahead   time.Duration // of the wall clock before the monotonic one, since start
	setBack time.Time     // when that was last noticed
}

// steady reports whether the clock was not set back within the time that an event may be on its way.
func (c *wallClock) steady() bool {
	now := time.Now()
	// The two clocks are not read at one moment: the least delay counts.
	ahead := c.lead()
	for range 2 {
		ahead = max(ahead, c.lead())
	}
	if ahead < c.ahead-late/100 {
		c.setBack = now
	}
	c.ahead = ahead
	return c.setBack.IsZero() || now.Sub(c.setBack) > late
}

func (c *wallClock) lead() time.Duration {
	now := time.Now()
	return now.Round(0).Sub(c.start.Round(0)) - now.Sub(c.start)
}

// keepFor is how many times the grace the directories of nodes are kept after they were handed out. Waiting longer
// before they are deleted holds nobody up, as waiting for a storage to be free does.
const keepFor = 6

func newHanded(grace time.Duration) *handed {
	return &handed{grace: grace, at: map[string]*handout{}, clock: wallClock{start: time.Now()}}
}

func (h *handed) out(key string, nodes []dag.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.at[key]
	if o == nil {
		o = &handout{released: make(chan struct{})}
		h.at[key] = o
	}
	o.dated = h.clock.steady()
	o.time, o.nodes = time.Now(), nodes
}

// kept returns the nodes that somebody may be about to mount.
func (h *handed) kept() map[dag.NodeID]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := map[dag.NodeID]bool{}
	for _, o := range h.at {
		if time.Since(o.time) >= keepFor*h.grace {
			continue
		}
		for _, id := range o.nodes {
			kept[id] = true
		}
	}
	return kept
}

// ended ends the doubt about mounts of a key that is no more.
func (h *handed) ended(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o := h.at[key]; o != nil {
		close(o.released)
		delete(h.at, key)
	}
}

// released ends the doubt about mounts that were handed out before an event, which has the time of the machine's clock.
// An event of an earlier task may come late: when the clock was set back in the meantime it would seem to be later than
// the mounts, so that the doubt lasts for the whole time of grace then.
func (h *handed) released(key string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o := h.at[key]; o != nil && h.clock.steady() && o.dated && o.time.Round(0).Before(at) {
		close(o.released)
		delete(h.at, key)
	}
}

func (h *handed) recently(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.at[key]
	return o != nil && time.Since(o.time) < h.grace
}

// polls is how often a wait for a mount looks whether it has come.
const polls = 20

// change returns a channel that is ready when it is worth looking at the key again.
func (h *handed) change(key string) <-chan struct{} {
	h.mu.Lock()
	o := h.at[key]
	h.mu.Unlock()
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		if o == nil {
			return
		}
		timer := time.NewTimer(h.grace/polls + time.Millisecond)
		defer timer.Stop()
		select {
		case <-o.released:
		case <-timer.C:
		}
	}()
	return ready
}

// handAfresh takes the mounts of every key that has a storage for handed out now: an earlier daemon may have done
// that a moment ago.
func (t *Tracker) handAfresh() {
	t.state.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			if st.Key != "" {
				t.HandOut(st.Key, append(g.Stack(st.Head), g.Chain(g.Base(st))...))
			}
		}
	})
}

// HandOut notes that mounts of nodes are handed out for a key. It is called while the graph cannot change, so that
// nobody takes a storage for free in between.
func (t *Tracker) HandOut(key string, nodes []dag.NodeID) { t.handed.out(key, nodes) }

// HandedOut returns the nodes that somebody may be about to mount.
func (t *Tracker) HandedOut() map[dag.NodeID]bool { return t.handed.kept() }

// Ended ends the doubt about mounts of a key that is no more.
func (t *Tracker) Ended(key string) { t.handed.ended(key) }

// Released ends the doubt about mounts that were handed out for a key before an event, which has the time of the
// machine's clock.
func (t *Tracker) Released(key string, at time.Time) { t.handed.released(key, at) }

// Recently reports whether mounts were handed out for a key so recently that somebody may be about to mount them.
func (t *Tracker) Recently(key string) bool { return t.handed.recently(key) }
