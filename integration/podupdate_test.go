// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// crashes is how often the container of a pod crashes in a test: kubelet then makes it again, on the same image.
const crashes = 5

// crash ends a container as a crash does, and makes it again in its pod as kubelet would.
func crash(pod *harness.Pod, c *harness.PodContainer, attempt uint32, img string) *harness.PodContainer {
	c.Stop()
	again := pod.Run(harness.PodContainerSpec{Name: "app", Image: img, Attempt: attempt})
	c.Remove()
	return again
}

// TestPodUpdateHolds: an explicit update of a pod's storage, whose specification names the old image, outlives crash after
// crash; a pod that names the new image is no part of it, and neither is undone by the rollback of the other.
func TestPodUpdateHolds(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithCRI(), impatient())
	h.CRI().Import(app(t, 1))
	h.CRI().Import(app(t, 2))
	pod := h.CRI().RunPod(harness.PodSpec{Name: "exp", Namespace: "team-a", Annotations: map[string]string{labelStorage: "exp"}})
	c := pod.Run(harness.PodContainerSpec{Name: "app", Image: appName(1)})
	c.Exec("sh", "-c", customise)
	const storage = "k8s.io/team-a/exp/app"
	created := h.Moltctl("-n", "k8s.io", "update", "create", "--from", appName(1), "--to", appName(2), "--storage", storage)
	for attempt := range uint32(crashes) {
		c = crash(pod, c, attempt+1, appName(1))
		if got := c.Exec("sh", "-c", "app; cat /var/data/answer"); got != "app 2\n42\n" {
			t.Fatalf("attempt %d: %q", attempt+1, got)
		}
		if attempt == crashes/2 {
			h.RestartDaemon()
		}
	}
	if got := h.Moltctl("update", "inspect", "u1"); !strings.Contains(got, "applied") {
		t.Errorf("the outcome is %q; the update was created as\n%s", got, created)
	}
	if ls := h.Moltctl("storage", "ls", "-A"); !strings.Contains(ls, appName(1)) {
		t.Errorf("storage ls does not say what the pod asks for:\n%s", ls)
	}

	other := h.CRI().RunPod(harness.PodSpec{Name: "other", Namespace: "team-b", Annotations: map[string]string{labelStorage: "other"}})
	o := other.Run(harness.PodContainerSpec{Name: "app", Image: appName(1)})
	o.Exec("sh", "-c", "echo mine >/own")
	o = crash(other, o, 1, appName(2))
	c.Stop()
	o.Stop()
	h.Moltctl("update", "rollback", "u1")
	for attempt := range uint32(crashes) {
		o = crash(other, o, attempt+2, appName(2))
		if got := o.Exec("sh", "-c", "app; cat /own"); got != "app 2\nmine\n" {
			t.Fatalf("the pod that names the new image: %q", got)
		}
	}
	c = crash(pod, c, crashes+1, appName(1))
	if got := c.Exec("app"); got != "app 1\n" {
		t.Errorf("after the rollback: %q", got)
	}
	pod.Remove()
	other.Remove()
}

// TestPodHeld: a pod whose image its storage cannot be serviced for fails with the reasons at each of its crashes, with one
// record, and starts again on the old image; a misspelt annotation is refused with the near name.
func TestPodHeld(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithCRI(), impatient())
	distribution := func(name, id string) image.Image {
		return named(t, name, image.Files(image.Directory("etc"), image.File("etc/os-release", "ID="+id+"\n")))
	}
	debian, alpine := distribution("molt.test/dist:1", "debian"), distribution("molt.test/dist:2", "alpine")
	h.CRI().Import(debian)
	h.CRI().Import(alpine)
	pod := h.CRI().RunPod(harness.PodSpec{Name: "web", Annotations: map[string]string{labelStorage: "web"}})
	c := pod.Run(harness.PodContainerSpec{Name: "app", Image: debian.Name})
	c.Exec("sh", "-c", "echo mine >/own")
	c.Stop()
	c.Remove()
	for attempt := range uint32(crashes) {
		held := pod.Create(harness.PodContainerSpec{Name: "app", Image: alpine.Name, Attempt: attempt + 1})
		if err := held.TryStart(); err == nil || !strings.Contains(err.Error(), "held by update u1") || !strings.Contains(err.Error(), "--force") {
			t.Fatalf("attempt %d: %v", attempt+1, err)
		}
		held.Remove()
	}
	if ls := h.Moltctl("update", "ls"); strings.Contains(ls, "u2") || !strings.Contains(ls, "1 held") {
		t.Errorf("the updates are\n%s", ls)
	}
	again := pod.Run(harness.PodContainerSpec{Name: "app", Image: debian.Name, Attempt: crashes + 1})
	if got := again.Exec("cat", "/own"); got != "mine\n" {
		t.Errorf("on the old image: %q", got)
	}
	pod.Remove()

	slip := h.CRI().RunPod(harness.PodSpec{Name: "slip", Annotations: map[string]string{"molt.dev/storag": "web", "molt.dev/x-mine": "1"}})
	err := slip.Create(harness.PodContainerSpec{Name: "app", Image: debian.Name}).TryStart()
	if err == nil || !strings.Contains(err.Error(), "did you mean molt.dev/storage?") {
		t.Errorf("a misspelt annotation: %v", err)
	}
	slip.Remove()
}
