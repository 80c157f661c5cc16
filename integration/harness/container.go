// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
)

// ContainerSpec says what container Create makes.
type ContainerSpec struct {
	// ID of the container; a unique one is made up if it is empty.
	ID string
	// Image is the name of an imported image.
	Image string
	// Args is the command; the image says it if there is none.
	Args []string
	// Labels of the container; they do not reach the snapshotter.
	Labels map[string]string
	// SnapshotLabels are given to Prepare; containerd passes on those that start with containerd.io/snapshot/.
	SnapshotLabels map[string]string
	// Snapshot is the key of an existing snapshot to use; without it, a new one gets the ID as its key.
	Snapshot string
	// Runtime is the name of the runtime, or the path of its shim; containerd's default if it is empty.
	Runtime string
	// Options change the OCI specification further.
	Options []oci.SpecOpts
}

// Container is a container made through containerd's Go client.
type Container struct {
	containerd.Container
	h *Harness
	// task is the latest one; nil before the first Start.
	task containerd.Task
	out  outputFiles
}

// For returns the same container for use in another test, such as a subtest.
func (c *Container) For(t testing.TB) *Container {
	other := *c
	other.h = c.h.For(t)
	return &other
}

// Create makes a container, which prepares its snapshot, and does not start it.
func (h *Harness) Create(spec ContainerSpec) *Container {
	h.t.Helper()
	c, err := h.TryCreate(spec)
	h.must(err)
	return c
}

// TryCreate is Create for containers that the snapshotter may refuse.
func (h *Harness) TryCreate(spec ContainerSpec) (*Container, error) {
	if spec.ID == "" {
		spec.ID = h.unique("container")
	}
	img, err := h.client.GetImage(h.Context(), spec.Image)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", spec.ID, err)
	}
	snapshot := containerd.WithSnapshot(spec.Snapshot)
	if spec.Snapshot == "" {
		snapshot = containerd.WithNewSnapshot(spec.ID, img, snapshots.WithLabels(spec.SnapshotLabels))
	}
	options := append([]oci.SpecOpts{oci.WithImageConfigArgs(img, spec.Args)}, spec.Options...)
	more := []containerd.NewContainerOpts{}
	if spec.Runtime != "" {
		more = append(more, containerd.WithRuntime(spec.Runtime, nil))
	}
	c, err := h.client.NewContainer(h.Context(), spec.ID, append(more,
		containerd.WithImage(img),
		containerd.WithSnapshotter(h.Snapshotter),
		snapshot,
		// A map of its own: containerd adds labels of the image to it.
		containerd.WithContainerLabels(maps.Clone(spec.Labels)),
		containerd.WithNewSpec(options...),
	)...)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", spec.ID, err)
	}
	return &Container{Container: c, h: h}, nil
}

// Run makes a container, runs it to its end and removes it with its snapshot.
func (h *Harness) Run(spec ContainerSpec) Result {
	h.t.Helper()
	c := h.Create(spec)
	c.Start()
	r := c.Wait()
	c.Delete()
	return r
}

// Start starts a new task in the container, which must have none that runs.
func (c *Container) Start() {
	c.h.t.Helper()
	c.h.must(c.TryStart())
}

// TryStart is Start for containers whose mounts the snapshotter may refuse.
func (c *Container) TryStart() error {
	ctx := c.h.Context()
	out := c.h.newOutput(c.ID())
	task, err := c.NewTask(ctx, out.create)
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.ID(), err)
	}
	if err := task.Start(ctx); err != nil {
		_, deleteErr := task.Delete(ctx, containerd.WithProcessKill)
		return errors.Join(fmt.Errorf("start container %s: %w", c.ID(), err), deleteErr)
	}
	c.task, c.out = task, out
	return nil
}

// started ends the test if the container was never started.
func (c *Container) started() {
	c.h.t.Helper()
	if c.task == nil {
		c.h.t.Fatalf("container %s was not started", c.ID())
	}
}

// Exec runs a command in the running container and returns its standard output; exit code 0 is expected.
func (c *Container) Exec(args ...string) string {
	c.h.t.Helper()
	r := c.TryExec(args...)
	if err := r.Err(); err != nil {
		c.h.t.Fatalf("exec %q in %s: %v", args, c.ID(), err)
	}
	return r.Stdout
}

// TryExec is Exec for commands that may fail.
func (c *Container) TryExec(args ...string) Result {
	c.h.t.Helper()
	c.started()
	r, err := c.exec(args)
	if err != nil {
		c.h.t.Fatalf("exec %q in %s: %v", args, c.ID(), err)
	}
	return r
}

func (c *Container) exec(args []string) (Result, error) {
	ctx := c.h.Context()
	spec, err := c.Spec(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("read specification: %w", err)
	}
	process := *spec.Process
	process.Args, process.Terminal = args, false
	id := c.h.unique("exec")
	out := c.h.newOutput(c.ID() + "-" + id)
	p, err := c.task.Exec(ctx, id, &process, out.create)
	if err != nil {
		return Result{}, err
	}
	if err := p.Start(ctx); err != nil {
		_, deleteErr := p.Delete(ctx)
		return Result{}, errors.Join(err, deleteErr)
	}
	return finish(ctx, p, out)
}

// Signal sends a signal to the first process of the container.
func (c *Container) Signal(sig syscall.Signal) {
	c.h.t.Helper()
	c.started()
	c.h.must(c.task.Kill(c.h.Context(), sig))
}

// Wait returns when the task has ended by itself, and removes the task.
func (c *Container) Wait() Result {
	c.h.t.Helper()
	c.started()
	r, err := finish(c.h.Context(), c.task, c.out)
	c.h.must(err)
	return r
}

// Kill ends all processes of the container with SIGKILL, returns when they are gone, and removes the task.
func (c *Container) Kill() Result {
	c.h.t.Helper()
	c.started()
	// NotFound says that its processes are gone already.
	err := c.task.Kill(c.h.Context(), syscall.SIGKILL, containerd.WithKillAll)
	if err != nil && !errdefs.IsNotFound(err) {
		c.h.t.Fatalf("kill container %s: %v", c.ID(), err)
	}
	return c.Wait()
}

// PID is the process ID, on the host, of the first process of the container.
func (c *Container) PID() int {
	c.h.t.Helper()
	c.started()
	return int(c.task.Pid())
}

// Mounts is what the snapshotter answers for the snapshot of the container.
func (c *Container) Mounts() []mount.Mount {
	c.h.t.Helper()
	info, err := c.Info(c.h.Context())
	c.h.must(err)
	mounts, err := c.h.Snapshots().Mounts(c.h.Context(), info.SnapshotKey)
	c.h.must(err)
	return mounts
}

// Delete removes the container and its snapshot; its task must have ended.
func (c *Container) Delete() {
	c.h.t.Helper()
	c.h.must(c.Container.Delete(c.h.Context(), containerd.WithSnapshotCleanup))
}

// finish waits for the end of a process, removes it and collects what it wrote. A containerd that is restarted
// in the meantime does not disturb it.
func finish(ctx context.Context, p containerd.Process, out outputFiles) (Result, error) {
	var code uint32
	// The wait itself has no deadline but the test's: only a lost connection is tried again.
	err := poll(ctx, func(context.Context) error {
		exited, err := p.Wait(ctx)
		if err == nil {
			status := <-exited
			code, err = status.ExitCode(), status.Error()
		}
		if err != nil && !errdefs.IsUnavailable(err) {
			return fatal(err)
		}
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("wait for %s: %w", p.ID(), err)
	}
	// The shim has written all output before it answers this.
	if _, err := p.Delete(ctx); err != nil {
		return Result{}, fmt.Errorf("remove %s: %w", p.ID(), err)
	}
	return out.result(int(code))
}

// killTasks ends the tasks of every namespace of this containerd.
func (e ender) killTasks(ctx context.Context) error {
	all, err := e.h.client.NamespaceService().List(ctx)
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	var errs []error
	for _, namespace := range all {
		errs = append(errs, e.killTasksIn(namespaces.WithNamespace(ctx, namespace)))
	}
	return errors.Join(errs...)
}

func (e ender) killTasksIn(ctx context.Context) error {
	list, err := e.h.client.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var errs []error
	for _, c := range list {
		task, err := c.Task(ctx, nil)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err == nil {
			_, err = task.Delete(ctx, containerd.WithProcessKill)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("end task %s: %w", c.ID(), err))
		}
	}
	return errors.Join(errs...)
}
