// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// patience is how long the harness waits for something that takes milliseconds on an idle machine before it
// gives up: it bounds a failure, no test measures with it.
const patience = time.Minute

// errExited says that a process ended although nobody asked it to.
var errExited = errors.New("the process exited")

// Process is a server that the harness runs: it can be killed and started again, its output goes to one file,
// and it dies with the test process. Its methods may be called from any goroutine.
type Process struct {
	name    string
	program program
	args    []string
	env     []string
	logPath string
	// ready returns nil once the server answers.
	ready func(context.Context) error

	mu sync.Mutex
	// latest is the latest start; nil before the first one.
	latest *life
}

// apart returns what runs a program in a pid namespace of its own, with a /proc of its own. Mounts of the host reach
// it.
func apart(p program, args []string) (program, []string) {
	const unshare = "/usr/bin/unshare"
	own := []string{"--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave", p.name}
	return program{name: unshare, path: unshare}, append(own, args...)
}

// life is a process from its start to its end.
type life struct {
	cmd *exec.Cmd
	// done is closed when the process has ended; exit may be read from then on.
	done chan struct{}
	exit error
}

func (l *life) running() bool {
	if l == nil {
		return false
	}
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// Start starts the process and returns when it answers. A process that already runs is left alone.
func (p *Process) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latest.running() {
		return nil
	}
	l, err := p.spawn()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.latest = l
	err = poll(ctx, func(ctx context.Context) error {
		if !l.running() {
			return fatal(fmt.Errorf("%w: %w", errExited, l.exit))
		}
		return p.ready(ctx)
	})
	if err != nil {
		return fmt.Errorf("wait for %s (log in %s): %w", p.name, p.logPath, err)
	}
	return nil
}

// spawn starts the command in a process group of its own.
func (p *Process) spawn() (*life, error) {
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	l := &life{cmd: p.program.command(p.args...), done: make(chan struct{})}
	l.cmd.Env, l.cmd.Stdout, l.cmd.Stderr = p.env, log, log
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig speaks of the thread that forks, not of the process: the thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := l.cmd.Start()
		started <- err
		if err == nil {
			l.exit = l.cmd.Wait()
			close(l.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return l, nil
}

// Kill ends the process with SIGKILL, as a crash would, and returns when it is gone.
func (p *Process) Kill() error {
	return p.end(syscall.SIGKILL)
}

// Stop asks the process to end with SIGTERM and returns when it is gone.
func (p *Process) Stop() error {
	return p.end(syscall.SIGTERM)
}

func (p *Process) end(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.latest.running() {
		return nil
	}
	if err := p.latest.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", sig, p.name, err)
	}
	select {
	case <-p.latest.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s did not end after %s", p.name, sig)
	}
}

// Wait returns when the process has ended: nil if it ended with status 0, else an *exec.ExitError. Nothing
// is sent to it.
func (p *Process) Wait(ctx context.Context) error {
	p.mu.Lock()
	l := p.latest
	p.mu.Unlock()
	if l == nil {
		return fmt.Errorf("%s was never started", p.name)
	}
	select {
	case <-l.done:
		return l.exit
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", p.name, ctx.Err())
	}
}

// Running says whether the process was started and has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latest.running()
}

// PID is the process ID of the latest start, 0 before the first one.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.latest == nil {
		return 0
	}
	return p.latest.cmd.Process.Pid
}

// Log is everything that the process has written so far, over all its starts.
func (p *Process) Log() string {
	content, err := os.ReadFile(p.logPath)
	if err != nil {
		return fmt.Sprintf("(no log of %s: %v)", p.name, err)
	}
	return string(content)
}

// fatalError marks an error that waiting longer cannot cure.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

func fatal(err error) error { return fatalError{err} }

// poll calls try until it returns nil or a fatal error, for as long as patience lasts, and returns the last
// error. Each call gets a deadline of its own so that one that hangs does not use up all of the patience.
func poll(ctx context.Context, try func(context.Context) error) error {
	deadline := time.Now().Add(patience)
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := try(attempt)
		cancel()
		var final fatalError
		if err == nil || errors.As(err, &final) || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
