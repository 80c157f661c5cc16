// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/failpoint"
)

var (
	seedFlag = flag.Uint64("crash.seed", 0, "seed of what is left to chance; 0 for a new one")
	onlyFlag = flag.String("crash.only", "", "carry out this one case, as a failing run calls it")
	fullFlag = flag.Bool("crash.full", os.Getenv("MOLT_CRASH") == "full", "carry out all cases, which takes long")
)

// plan says how many cases there are of each way to die.
type plan struct {
	point  int // kills at each failpoint
	random int // kills at a random moment
	call   int // kills at a system call, and as many single errors of each kind
	onward int // disks that stay full for a while
	power  int // power cuts on each file system
	replay int // those made of a log of what was written to the disk, on each file system
}

func plans() plan {
	if *fullFlag {
		return plan{point: 24, random: 1000, call: 600, onward: 100, power: 100, replay: 300}
	}
	return plan{point: 1, random: 8, call: 1, onward: 1, power: 1, replay: 3}
}

// TestCrash: the process dies at any moment, is started again, and goes on. Each time every storage is as it was before the
// step that was broken off, or as it is after it; all that was acknowledged is there; nothing is left over; and the rest of the
// script leads to the same end.
func TestCrash(t *testing.T) {
	m := newMatrix(t)
	if *onlyFlag != "" {
		m.only(t, *onlyFlag)
		return
	}
	p := plans()
	t.Run("failpoint", func(t *testing.T) { m.failpoints(t, p.point) })
	t.Run("random", func(t *testing.T) { m.random(t, p.random) })
	t.Run("call", func(t *testing.T) { m.calls(t, p.call, p.onward) })
	t.Run("start", m.starts)
	t.Run("pull", m.pulls)
	t.Run("commit", m.commits)
	t.Run("power", func(t *testing.T) { m.powerCuts(t, p.power) })
	t.Run("replay", func(t *testing.T) { m.replays(t, p.replay) })
}

// matrix carries out cases, some at once, and counts.
type matrix struct {
	t         *testing.T
	dir       string
	seed      uint64
	chance    *rand.Rand
	reference *reference
	duration  time.Duration  // of a life
	hits      map[string]int // of each failpoint in a life

	number atomic.Int64

	mu     sync.Mutex
	counts map[string]int
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	inprocess.NeedRoot(t, "overlay mounts")
	m := &matrix{t: t, seed: *seedFlag, counts: map[string]int{}, hits: map[string]int{}, dir: workDir(t)}
	if m.seed == 0 {
		m.seed = rand.Uint64N(1_000_000)
	}
	m.chance = rand.New(rand.NewPCG(m.seed, 0))
	t.Logf("seed %d", m.seed)
	t.Cleanup(m.summary)
	m.learn()
	return m
}

// workDir returns a directory for the cases, in memory if there is some: what a killed process has written is there all the
// same. It is kept when a case fails.
func workDir(t *testing.T) string {
	t.Helper()
	parent := os.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err == nil && st.Bavail*uint64(st.Bsize) > 1<<30 {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "molt-crash-") //nolint:usetesting // it is kept when a case fails
	must(t, err)
	t.Cleanup(func() {
		if !t.Failed() {
			must(t, os.RemoveAll(dir))
		}
	})
	return dir
}

// learn makes the reference of two lives, which must be the same.
func (m *matrix) learn() {
	m.t.Helper()
	everything := len(script()) + 1
	trace := filepath.Join(m.dir, "trace")
	first := m.lived(order{Root: m.root(), Look: everything}, traced{file: trace})
	var err error
	m.reference, err = remember(first)
	must(m.t, err)
	second := m.lived(order{Root: m.root(), Look: everything}, old{})
	if faults := m.reference.judge(second); len(faults) > 0 {
		m.t.Fatalf("two lives without a crash differ: %s", strings.Join(faults, "\n"))
	}
	data, err := os.ReadFile(trace)
	must(m.t, err)
	for name := range strings.FieldsSeq(string(data)) {
		m.hits[name]++
	}
}

// measure takes the time of a life.
func (m *matrix) measure() {
	m.t.Helper()
	began := time.Now()
	m.lived(order{Root: m.root()}, old{})
	m.duration = time.Since(began)
}

func (m *matrix) lived(o order, d death) *life {
	m.t.Helper()
	l, err := live(o, d)
	must(m.t, err)
	must(m.t, m.cleanUp(o.Root))
	return l
}

// root returns a new root for a case.
func (m *matrix) root() string {
	return filepath.Join(m.dir, fmt.Sprintf("case%d", m.number.Add(1)))
}

func (m *matrix) cleanUp(root string) error {
	for _, path := range []string{root, root + ".mnt", root + ".log"} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

func (m *matrix) count(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[what]++
}

func (m *matrix) counted(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[what]
}

// each carries out cases, as many at once as there are processors.
func (m *matrix) each(t *testing.T, cases [][]death, do func(*testing.T, []death)) {
	var wg sync.WaitGroup
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, deaths := range cases {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			do(t, deaths)
		})
	}
	wg.Wait()
}

// dies has a victim die, perhaps its successor, too, and the next one go on to the end.
func (m *matrix) dies(t *testing.T, deaths ...death) (killed bool) {
	root := m.root()
	next := 0
	for _, d := range deaths {
		l, err := live(order{Root: root, From: next}, d)
		if err != nil {
			t.Errorf("%v: %v", d, err)
			return false
		}
		next = l.next()
		if !l.killed() {
			m.verdict(t, l, deaths, m.reference.judge(l))
			continue
		}
		killed = true
		way, _, _ := strings.Cut(d.String(), " ")
		m.count("killed " + way)
	}
	m.goesOn(t, root, next, deaths)
	return killed
}

// goesOn looks at the state that a death left, and carries out what is left of the script.
func (m *matrix) goesOn(t *testing.T, root string, next int, deaths []death) {
	l, err := live(order{Root: root, From: next, Look: next + 2}, old{})
	if err != nil {
		t.Errorf("%v: %v", deaths, err)
		return
	}
	if m.verdict(t, l, deaths, m.reference.judge(l)) {
		if err := m.cleanUp(root); err != nil {
			t.Error(err)
		}
	}
}

func (m *matrix) verdict(t *testing.T, l *life, deaths []death, faults []string) bool {
	if len(faults) == 0 {
		return true
	}
	m.count("failures")
	repeat := fmt.Sprintf("repeat: go test ./integration/crash -crash.only '%s'", called(deaths))
	if _, recorded := deaths[0].(cutOff); recorded {
		repeat = "the disk is beside the root"
	}
	t.Errorf("%v: %s\nroot: %s\n%s", deaths, strings.Join(faults, "\n"), l.order.Root, repeat)
	return false
}

func called(deaths []death) string {
	var names []string
	for _, d := range deaths {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ")
}

// failpoints kills the victim at each failpoint, at moments spread over all the times it comes there.
func (m *matrix) failpoints(t *testing.T, kills int) {
	if len(m.hits) == 0 {
		t.Skip("this build has no failpoints; build with -tags failpoints")
	}
	for _, name := range failpoint.Names() {
		hits := m.hits[name]
		if hits == 0 {
			t.Errorf("the script never comes to %s", name)
			continue
		}
		var cases [][]death
		for i := range kills { // several at one moment where there are fewer moments
			cases = append(cases, []death{point{name: name, nth: 1 + (2*i+1)*hits/(2*kills)}})
		}
		var killed atomic.Int64
		m.each(t, cases, func(t *testing.T, deaths []death) {
			if m.dies(t, deaths...) {
				killed.Add(1)
			}
		})
		if killed.Load() == 0 {
			t.Errorf("nothing was killed at %s", name)
			continue
		}
		m.count("failpoints")
	}
}

// random kills at least so many victims at random moments, and now and then the one that goes on, too. A victim may be done before
// its moment comes, when the machine has become faster since the length of a life was measured: so that is done again and again.
func (m *matrix) random(t *testing.T, kills int) {
	const batch = 50
	for tried := 0; m.counted("killed after") < kills && !t.Failed(); {
		if tried += batch; tried > 10*kills+batch {
			t.Fatalf("only %d of %d victims were killed", m.counted("killed after"), tried)
		}
		m.measure()
		var cases [][]death
		for i := range min(batch, kills) {
			deaths := []death{m.moment()}
			if i%3 == 2 {
				deaths = append(deaths, m.moment())
			}
			cases = append(cases, deaths)
		}
		m.each(t, cases, func(t *testing.T, deaths []death) { m.dies(t, deaths...) })
	}
}

func (m *matrix) moment() death {
	return after(time.Duration(m.chance.Int64N(int64(m.duration))).Round(10 * time.Microsecond))
}

// only carries out the case that is called by its deaths.
func (m *matrix) only(t *testing.T, name string) {
	var deaths []death
	for one := range strings.SplitSeq(name, ", ") {
		d, err := parse(one)
		must(t, err)
		deaths = append(deaths, d)
	}
	if b, ok := deaths[0].(blackout); ok {
		m.cut(t, b)
		return
	}
	if s, ok := deaths[0].(supervised); ok && s.what != 0 {
		m.errs(t, deaths)
		return
	}
	m.dies(t, deaths...)
}

// parse returns the death that is called by a name.
func parse(name string) (death, error) {
	words := strings.Fields(name)
	if len(words) == 2 && words[0] == "after" {
		d, err := time.ParseDuration(words[1])
		return after(d), err
	}
	if len(words) == 3 && words[0] == "power" {
		d, err := time.ParseDuration(words[2])
		return blackout{kind: words[1], after: d}, err
	}
	if len(words) == 3 && words[0] == "point" {
		nth, err := strconv.Atoi(words[2])
		return point{name: words[1], nth: nth}, err
	}
	if len(words) >= 4 && (words[1] == "call" || words[1] == "flush") {
		return parseSupervised(words)
	}
	return nil, fmt.Errorf("there is no death %q", name)
}

func (m *matrix) summary() {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(m.counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, m.counts[what]))
	}
	if m.reference != nil {
		parts = append(parts, fmt.Sprintf("comparisons %d", m.reference.compared.Load()))
	}
	m.t.Logf("crash: seed %d; %s", m.seed, strings.Join(parts, ", "))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func parseSupervised(words []string) (death, error) {
	s := supervised{on: words[0] == "from", flush: words[1] == "flush", stop: words[len(words)-1] == "stop"}
	s.what = map[string]unix.Errno{"ENOSPC": unix.ENOSPC, "EIO": unix.EIO}[words[3]]
	var err error
	if s.from, err = strconv.Atoi(words[2]); err == nil && len(words) > 5 {
		s.step, err = strconv.Atoi(words[5])
	}
	return newSupervised(s), err
}
