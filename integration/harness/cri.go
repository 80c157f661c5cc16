// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// criNamespace is the containerd namespace of everything that CRI makes.
const criNamespace = "k8s.io"

// CRI is what a kubelet sees of containerd.
type CRI struct {
	// Runtime and Images are the clients that kubelet uses.
	Runtime runtimeapi.RuntimeServiceClient
	Images  runtimeapi.ImageServiceClient

	h    *Harness
	conn *grpc.ClientConn
}

// CRI returns the CRI of this containerd, which must have been started WithCRI.
func (h *Harness) CRI() *CRI {
	h.t.Helper()
	if h.cri == nil {
		h.t.Fatal("this harness was started without CRI")
	}
	return h.cri
}

// Context is the context of the test with the containerd namespace of CRI, for use with Harness.Client.
func (c *CRI) Context() context.Context {
	return namespaces.WithNamespace(c.h.t.Context(), criNamespace)
}

// startCRI connects to CRI, waits for it and makes the image of the sandbox.
func (s starter) startCRI(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+s.h.ContainerdSocket(), dialOptions()...)
	if err != nil {
		return fmt.Errorf("connect to CRI: %w", err)
	}
	s.h.cri = &CRI{
		Runtime: runtimeapi.NewRuntimeServiceClient(conn),
		Images:  runtimeapi.NewImageServiceClient(conn),
		h:       s.h,
		conn:    conn,
	}
	if err := poll(ctx, s.h.cri.ready); err != nil {
		return err
	}
	pause, err := image.New(pauseImage)
	if err != nil {
		return fmt.Errorf("make the sandbox image: %w", err)
	}
	_, err = s.h.cri.importImage(ctx, pause)
	return err
}

// ready succeeds when CRI says that it can run pods; those on the network of the host need no network plugin.
func (c *CRI) ready(ctx context.Context) error {
	r, err := c.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return fmt.Errorf("ask CRI for its status: %w", err)
	}
	for _, condition := range r.GetStatus().GetConditions() {
		if condition.GetType() == runtimeapi.RuntimeReady && condition.GetStatus() {
			return nil
		}
	}
	return fmt.Errorf("CRI is not ready: %v", r.GetStatus())
}

// Import puts an image where pods find it and returns when CRI knows it.
func (c *CRI) Import(img image.Image) containerd.Image {
	c.h.t.Helper()
	imported, err := c.importImage(c.h.t.Context(), img)
	c.h.must(err)
	return imported
}

func (c *CRI) importImage(ctx context.Context, img image.Image) (containerd.Image, error) {
	imported, err := c.h.importInto(ctx, criNamespace, img)
	if err != nil {
		return nil, err
	}
	config, err := imported.Config(namespaces.WithNamespace(ctx, criNamespace))
	if err != nil {
		return nil, fmt.Errorf("read the configuration of %s: %w", img.Name, err)
	}
	// CRI learns of images from events. The ID tells this one from an earlier one of the same name.
	err = poll(ctx, func(ctx context.Context) error {
		r, err := c.Images.ImageStatus(ctx,
			&runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: img.Name}})
		if err != nil {
			return fmt.Errorf("ask CRI for %s: %w", img.Name, err)
		}
		if id := r.GetImage().GetId(); id != config.Digest.String() {
			return fmt.Errorf("CRI has %q as %s, not %s", id, img.Name, config.Digest)
		}
		return nil
	})
	return imported, err
}

// PodSpec says what pod RunPod makes.
type PodSpec struct {
	// Name and Namespace are those of Kubernetes; the namespace is default if it is empty.
	Name, Namespace string
	// UID of the pod; a unique one is made up if it is empty.
	UID         string
	Attempt     uint32
	Labels      map[string]string
	Annotations map[string]string
	// RuntimeHandler is a runtime of containerd's configuration; the default one if it is empty.
	RuntimeHandler string
}

// Pod is a running sandbox.
type Pod struct {
	ID     string
	Config *runtimeapi.PodSandboxConfig
	cri    *CRI
}

// RunPod starts the sandbox of a pod, with the labels that kubelet gives it, on the network of the host.
func (c *CRI) RunPod(spec PodSpec) *Pod {
	c.h.t.Helper()
	pod, err := c.TryRunPod(spec)
	c.h.must(err)
	return pod
}

// TryRunPod is RunPod for pods that may be refused.
func (c *CRI) TryRunPod(spec PodSpec) (*Pod, error) {
	if spec.Namespace == "" {
		spec.Namespace = "default"
	}
	if spec.UID == "" {
		spec.UID = c.h.unique(c.h.Namespace + "-uid")
	}
	labels := map[string]string{
		"io.kubernetes.pod.name":      spec.Name,
		"io.kubernetes.pod.namespace": spec.Namespace,
		"io.kubernetes.pod.uid":       spec.UID,
	}
	maps.Copy(labels, spec.Labels)
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name: spec.Name, Namespace: spec.Namespace, Uid: spec.UID, Attempt: spec.Attempt,
		},
		LogDirectory: c.h.Path("out"),
		Labels:       labels,
		Annotations:  spec.Annotations,
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: "/" + c.h.Namespace,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: hostNetwork(),
			},
		},
	}
	r, err := c.Runtime.RunPodSandbox(c.h.t.Context(), &runtimeapi.RunPodSandboxRequest{
		Config: config, RuntimeHandler: spec.RuntimeHandler,
	})
	if err != nil {
		return nil, fmt.Errorf("run pod %s: %w", spec.Name, err)
	}
	return &Pod{ID: r.GetPodSandboxId(), Config: config, cri: c}, nil
}

func hostNetwork() *runtimeapi.NamespaceOption {
	return &runtimeapi.NamespaceOption{
		Network: runtimeapi.NamespaceMode_NODE,
		Pid:     runtimeapi.NamespaceMode_CONTAINER,
	}
}

// Remove stops and removes the pod with its containers.
func (p *Pod) Remove() {
	p.cri.h.t.Helper()
	p.cri.h.must(p.cri.removePod(p.cri.h.t.Context(), p.ID))
}

func (c *CRI) removePod(ctx context.Context, id string) error {
	if _, err := c.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("stop pod %s: %w", id, err)
	}
	if _, err := c.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("remove pod %s: %w", id, err)
	}
	return nil
}

// removePods removes all pods.
func (c *CRI) removePods(ctx context.Context) error {
	list, err := c.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	var errs []error
	for _, pod := range list.GetItems() {
		errs = append(errs, c.removePod(ctx, pod.GetId()))
	}
	return errors.Join(errs...)
}
