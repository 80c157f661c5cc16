// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The variables by which the test binary learns that it is a victim.
const (
	orderVariable  = "MOLT_CRASH_ORDER"
	filterVariable = "MOLT_CRASH_FILTER"
)

// life is what is known of a victim, from its birth to its death.
type life struct {
	order   order
	death   death
	cmd     *exec.Cmd
	log     string
	until   int           // the step at which the one before died, if this is further than where this one begins
	over    chan struct{} // closed when it is dead
	mu      sync.Mutex
	reports []report
}

// death is a way to die, or to be made to fail.
type death interface {
	fmt.Stringer
	// prepare is called before the victim is started.
	prepare(cmd *exec.Cmd) error
	// strike is called as soon as the victim runs. It returns when the victim is dead or will die by itself.
	strike(l *life) error
}

// live starts a victim, has it die, and waits until it is dead.
func live(o order, d death, prepare ...func(*life)) (*life, error) {
	l := &life{order: o, death: d, over: make(chan struct{}), log: cmp.Or(o.Log, o.Root+".log")}
	for _, fn := range prepare {
		fn(l)
	}
	log, err := os.OpenFile(l.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := fmt.Fprintf(log, "=== from step %d: %v\n", o.From, d); err != nil {
		return nil, err
	}
	out, err := l.start(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	err = l.follow(bufio.NewReader(out))
	return l, err
}

// start starts the victim and returns where its reports are read.
func (l *life) start(log *os.File) (out *os.File, err error) {
	text, err := json.Marshal(l.order)
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	l.cmd = exec.Command("/proc/self/exe")
	l.cmd.Env = append(os.Environ(), orderVariable+"="+string(text))
	l.cmd.Stdout, l.cmd.Stderr = log, log
	l.cmd.ExtraFiles = []*os.File{in}
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	err = l.death.prepare(l.cmd)
	if err == nil {
		err = l.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// follow reads the reports of the victim while it dies.
func (l *life) follow(out *bufio.Reader) error {
	struck := make(chan error, 1)
	go func() { struck <- l.death.strike(l) }()
	for {
		line, err := out.ReadBytes('\n')
		if err != nil {
			break // the last line may be one that was broken off
		}
		var r report
		if err := json.Unmarshal(line, &r); err != nil {
			break
		}
		l.mu.Lock()
		l.reports = append(l.reports, r)
		l.mu.Unlock()
		if r.Kind == failed {
			if err := l.note("step %d failed: %s", r.Step, r.Text); err != nil {
				return err
			}
		}
	}
	// How it ended shows in its reports.
	if err := l.cmd.Wait(); err != nil && l.cmd.ProcessState == nil {
		return err
	}
	close(l.over)
	return <-struck
}

// note writes a line into the log of the victim.
func (l *life) note(format string, args ...any) error {
	log, err := os.OpenFile(l.log, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(log, "=== "+format+"\n", args...)
	return errors.Join(err, log.Close())
}

// spoken is how much of the end of a victim's output is shown, in bytes.
const spoken = 16 << 10

// lastWords returns the end of what the victim wrote to its log, for the account of a failure: the trace of a panic, the
// report of a race, or what the daemon logged.
func (l *life) lastWords() string {
	data, err := os.ReadFile(l.log)
	if err != nil {
		return "its output cannot be read: " + err.Error()
	}
	return string(data[max(0, len(data)-spoken):])
}

// has reports whether the victim has made a report of a kind so far.
func (l *life) has(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.reports {
		if r.Kind == kind {
			return true
		}
	}
	return false
}

// came reports whether the victim has begun a step.
func (l *life) came(step int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.reports, func(r report) bool { return r.Kind == began && r.Step == step })
}

// next returns the first step that was not done.
func (l *life) next() int {
	next := l.order.From
	for _, r := range l.reports {
		if r.Kind == done {
			next = r.Step + 1
		}
	}
	return next
}

// broken reports whether the victim died, or gave up, because of what was done to it.
func (l *life) broken() bool {
	s, ok := l.death.(supervised)
	return l.killed() || ok && s.what != 0 && l.has(failed)
}

// madeToFail reports whether what went wrong is what was done to the victim: a disk that stays full is so at the end, too.
func (l *life) madeToFail(text string) bool {
	s, ok := l.death.(supervised)
	return ok && s.on && strings.Contains(text, s.what.Error())
}

// killed reports whether the victim died before its end.
func (l *life) killed() bool {
	status, ok := l.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == unix.SIGKILL
}

// old is no death but a full life.
type old struct{}

func (old) String() string          { return "nothing" }
func (old) prepare(*exec.Cmd) error { return nil }
func (old) strike(*life) error      { return nil }
