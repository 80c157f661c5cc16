// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"maps"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodContainerSpec says what container Pod.Create makes.
type PodContainerSpec struct {
	// Name of the container in the pod.
	Name string
	// Attempt counts the containers of that name in the pod: kubelet restarts a container by making another.
	Attempt uint32
	// Image is the name of an image that CRI knows.
	Image string
	// Args is the command; the image says it if there is none.
	Args        []string
	Labels      map[string]string
	Annotations map[string]string
}

// PodContainer is a container in a pod.
type PodContainer struct {
	ID  string
	pod *Pod
}

// Create makes a container in the pod, with the labels that kubelet gives it, and does not start it.
func (p *Pod) Create(spec PodContainerSpec) *PodContainer {
	p.cri.h.t.Helper()
	c, err := p.TryCreate(spec)
	p.cri.h.must(err)
	return c
}

// TryCreate is Create for containers that may be refused.
func (p *Pod) TryCreate(spec PodContainerSpec) (*PodContainer, error) {
	labels := map[string]string{"io.kubernetes.container.name": spec.Name}
	maps.Copy(labels, p.Config.GetLabels())
	maps.Copy(labels, spec.Labels)
	r, err := p.cri.Runtime.CreateContainer(p.cri.h.t.Context(), &runtimeapi.CreateContainerRequest{
		PodSandboxId:  p.ID,
		SandboxConfig: p.Config,
		Config: &runtimeapi.ContainerConfig{
			Metadata:    &runtimeapi.ContainerMetadata{Name: spec.Name, Attempt: spec.Attempt},
			Image:       &runtimeapi.ImageSpec{Image: spec.Image},
			Command:     spec.Args,
			Labels:      labels,
			Annotations: spec.Annotations,
			LogPath:     p.cri.h.unique(spec.Name) + ".log",
			Linux: &runtimeapi.LinuxContainerConfig{
				Resources:       &runtimeapi.LinuxContainerResources{},
				SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: hostNetwork()},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("create container %s in pod %s: %w", spec.Name, p.Config.GetMetadata().GetName(), err)
	}
	return &PodContainer{ID: r.GetContainerId(), pod: p}, nil
}

// Run makes and starts a container in the pod.
func (p *Pod) Run(spec PodContainerSpec) *PodContainer {
	p.cri.h.t.Helper()
	c := p.Create(spec)
	c.Start()
	return c
}

// Start starts the container.
func (c *PodContainer) Start() {
	c.pod.cri.h.t.Helper()
	c.pod.cri.h.must(c.TryStart())
}

// TryStart is Start for containers whose mounts the snapshotter may refuse.
func (c *PodContainer) TryStart() error {
	_, err := c.pod.cri.Runtime.StartContainer(c.context(), &runtimeapi.StartContainerRequest{ContainerId: c.ID})
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.ID, err)
	}
	return nil
}

// Exec runs a command in the running container and returns its standard output; exit code 0 is expected.
func (c *PodContainer) Exec(args ...string) string {
	c.pod.cri.h.t.Helper()
	r := c.TryExec(args...)
	if err := r.Err(); err != nil {
		c.pod.cri.h.t.Fatalf("exec %q: %v", args, err)
	}
	return r.Stdout
}

// TryExec is Exec for commands that may fail.
func (c *PodContainer) TryExec(args ...string) Result {
	c.pod.cri.h.t.Helper()
	r, err := c.pod.cri.Runtime.ExecSync(c.context(), &runtimeapi.ExecSyncRequest{ContainerId: c.ID, Cmd: args})
	c.pod.cri.h.must(err)
	return Result{ExitCode: int(r.GetExitCode()), Stdout: string(r.GetStdout()), Stderr: string(r.GetStderr())}
}

// Status is what CRI says about the container.
func (c *PodContainer) Status() *runtimeapi.ContainerStatus {
	c.pod.cri.h.t.Helper()
	r, err := c.pod.cri.Runtime.ContainerStatus(c.context(), &runtimeapi.ContainerStatusRequest{ContainerId: c.ID})
	c.pod.cri.h.must(err)
	return r.GetStatus()
}

// Stop kills the container and returns when it has ended.
func (c *PodContainer) Stop() {
	c.pod.cri.h.t.Helper()
	_, err := c.pod.cri.Runtime.StopContainer(c.context(), &runtimeapi.StopContainerRequest{ContainerId: c.ID})
	c.pod.cri.h.must(err)
}

// Remove removes the container, which also drops its snapshot.
func (c *PodContainer) Remove() {
	c.pod.cri.h.t.Helper()
	_, err := c.pod.cri.Runtime.RemoveContainer(c.context(), &runtimeapi.RemoveContainerRequest{ContainerId: c.ID})
	c.pod.cri.h.must(err)
}

func (c *PodContainer) context() context.Context { return c.pod.cri.h.t.Context() }
