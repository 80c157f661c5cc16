// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// TestPod is what a Kubernetes node does: a pod with the annotation is created, written to, deleted, and created again on
// the new image, then on the old one.
func TestPod(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithCRI())
	h.CRI().Import(app(t, 1))
	h.CRI().Import(app(t, 2))
	annotated := harness.PodSpec{Name: "web", Namespace: "team", Annotations: map[string]string{labelStorage: "web"}}

	first := h.CRI().RunPod(annotated)
	c := first.Run(harness.PodContainerSpec{Name: "app", Image: appName(1)})
	c.Exec("sh", "-c", customise)

	t.Run("a second pod after the same storage", func(t *testing.T) {
		h := h.For(t)
		spec := annotated
		spec.Name = "other"
		other := h.CRI().RunPod(spec)
		err := other.Create(harness.PodContainerSpec{Name: "app", Image: appName(1)}).TryStart()
		if err == nil || !strings.Contains(err.Error(), "k8s.io/team/web/app") || !strings.Contains(err.Error(), c.ID) {
			t.Errorf("the pod was started, or the error names neither storage nor holder: %v", err)
		}
		other.Remove()
	})
	t.Run("the same annotation in another namespace", func(t *testing.T) {
		h := h.For(t)
		spec := annotated
		spec.Namespace = "strangers"
		other := h.CRI().RunPod(spec)
		out := other.Run(harness.PodContainerSpec{Name: "app", Image: appName(1)}).Exec("sh", "-c", "ls /var/data 2>&1; true")
		if !strings.Contains(out, "No such file") {
			t.Errorf("a pod of another namespace got at the storage: %q", out)
		}
		other.Remove()
	})
	t.Run("a pod without the annotation", func(t *testing.T) {
		h := h.For(t)
		for range 2 {
			plain := h.CRI().RunPod(harness.PodSpec{Name: "plain", Namespace: "team"})
			out := plain.Run(harness.PodContainerSpec{Name: "app", Image: appName(1)}).Exec("sh", "-c", "cat /own 2>&1; echo mine >/own")
			if !strings.Contains(out, "No such file") {
				t.Errorf("what was written in the pod was there again: %q", out)
			}
			plain.Remove()
		}
	})

	first.Remove()
	for _, step := range []struct{ image, want string }{
		{appName(2), "app 2\n42\n700\n"},
		{appName(1), "app 1\n42\n700\n"},
		{appName(2), "app 2\n42\n700\n"},
	} {
		pod := h.CRI().RunPod(annotated)
		c := pod.Run(harness.PodContainerSpec{Name: "app", Image: step.image})
		if got := c.Exec("sh", "-c", "app; cat /var/data/answer; stat -c %a /usr/bin/app"); got != step.want {
			t.Errorf("on %s: got %q, want %q", step.image, got, step.want)
		}
		pod.Remove()
	}
}

// TestPodContainers: a container that fails and is created again in its pod keeps what it wrote, and each container of a pod
// has a storage of its own.
func TestPodContainers(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithCRI())
	img := app(t, 1)
	img.Config.Labels = map[string]string{labelStorage: "not-this-one"}
	h.CRI().Import(img)
	pod := h.CRI().RunPod(harness.PodSpec{Name: "web", Annotations: map[string]string{labelStorage: "web"}})
	one := pod.Run(harness.PodContainerSpec{Name: "one", Image: img.Name})
	two := pod.Run(harness.PodContainerSpec{Name: "two", Image: img.Name})
	one.Exec("sh", "-c", "echo one >/own")
	two.Exec("sh", "-c", "echo two >/own")
	one.Stop()
	again := pod.Run(harness.PodContainerSpec{Name: "one", Image: img.Name, Attempt: 1})
	one.Remove()
	if got := again.Exec("cat", "/own") + two.Exec("cat", "/own"); got != "one\ntwo\n" {
		t.Errorf("the containers have %q", got)
	}
	names := h.Moltctl("storage", "ls", "-A")
	for _, want := range []string{"k8s.io/default/web/one", "k8s.io/default/web/two"} {
		if !strings.Contains(names, want) {
			t.Errorf("there is no storage %s:\n%s", want, names)
		}
	}
	pod.Remove()

	// Without its annotation, a pod of the image has no storage, whatever the image says.
	plain := h.CRI().RunPod(harness.PodSpec{Name: "plain"})
	plain.Run(harness.PodContainerSpec{Name: "app", Image: img.Name})
	plain.Remove()
	if names := h.Moltctl("storage", "ls", "-A"); strings.Contains(names, "not-this-one") {
		t.Errorf("the image chose a storage:\n%s", names)
	}
}

// TestPodWithVolumes: volumes of the image are seeded before the container is known to containerd.
func TestPodWithVolumes(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithCRI())
	img := named(t, "molt.test/volume:1", image.Files(image.File("vol/seed", "seed\n")))
	img.Config.Volumes = map[string]struct{}{"/vol": {}}
	h.CRI().Import(img)
	for i := range 2 {
		pod := h.CRI().RunPod(harness.PodSpec{Name: "web", Annotations: map[string]string{labelStorage: "web"}})
		c := pod.Run(harness.PodContainerSpec{Name: "app", Image: img.Name})
		want := []string{"seed\n", "seed\nmine\n"}[i]
		if got := c.Exec("sh", "-c", "cat /vol/seed /own 2>/dev/null; echo mine >/own"); got != want {
			t.Errorf("start %d: got %q, want %q", i, got, want)
		}
		pod.Remove()
	}
}
