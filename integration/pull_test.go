// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// registry is a registry on the loopback interface, over plain HTTP.
type registry struct {
	*image.Registry
	t    *testing.T
	host string
}

func newRegistry(t *testing.T) registry {
	r := registry{Registry: image.NewRegistry(), t: t}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = server.Listener.Addr().String()
	return r
}

// push serves an image, and returns its name.
func (r registry) push(tag string, img image.Image) string {
	r.t.Helper()
	if err := r.Add("app", tag, img); err != nil {
		r.t.Fatal(err)
	}
	return r.host + "/app:" + tag
}

// second is version 2 of the application, whose topmost layer has an annotation that it updates something, if that is
// said.
func second(t *testing.T, tag, of string) image.Image {
	t.Helper()
	img := app(t, 1)
	top := image.Files(
		image.File("etc/tag", tag),
		image.File("usr/bin/app", "#!/bin/sh\necho app 2\n").WithMode(0o755),
		image.File("etc/app.conf", "port = 80\n\n# how much\nlog = info\n\n# how many\nworkers = 2\n"),
	)
	if of != "" {
		top = top.WithAnnotation(updates.LabelUpdateOf, of)
	}
	img.Layers = append(img.Layers, top)
	return img
}

// topmost returns the chain ID of an image.
func topmost(h *harness.Harness, img containerd.Image) string {
	chain := h.ChainIDs(img)
	return chain[len(chain)-1]
}

func ctrPull(h *harness.Harness, name string, flags ...string) {
	args := append([]string{"images", "pull", "--plain-http", "--snapshotter", h.Snapshotter}, flags...)
	h.Ctr(append(args, name)...)
}

func clientPull(t *testing.T, h *harness.Harness, name string) containerd.Image {
	t.Helper()
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost)),
	})
	img, err := h.Client().Pull(h.Context(), name,
		containerd.WithResolver(resolver), containerd.WithPullUnpack, containerd.WithPullSnapshotter(h.Snapshotter))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// updatesListed returns the lines about updates of `moltctl update ls`.
func updatesListed(h *harness.Harness) []string {
	var lines []string
	for line := range strings.Lines(h.Moltctl("update", "ls")) {
		if strings.HasPrefix(line, "u") {
			lines = append(lines, line)
		}
	}
	return lines
}

// announced checks that the given number of updates is listed, all of them announced only.
func announced(t *testing.T, h *harness.Harness, n int, by string) {
	t.Helper()
	lines := updatesListed(h)
	if len(lines) != n {
		t.Fatalf("after %s there are %d updates, not %d:\n%s", by, len(lines), n, strings.Join(lines, ""))
	}
	for _, line := range lines {
		if !strings.Contains(line, "announced") {
			t.Errorf("after %s an update goes further than announced: %s", by, line)
		}
	}
}

// TestPulledUpdate: an image in a registry says by an annotation of its topmost layer what it updates. However it is
// pulled, and whatever the policy for others is, that is announced and moves no storage; applying it does. Clients that
// fetch first and unpack afterwards do not pass the annotation on.
func TestPulledUpdate(t *testing.T) {
	for name, config := range map[string]string{
		"by default":        "",
		"when others apply": "[servicing.on_commit]\nclient = \"apply\"\nwritten = \"apply\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := harness.Start(t, impatient(), harness.WithDaemonConfig(config))
			r := newRegistry(t)
			one := r.push("1", app(t, 1))
			ctrPull(h, one)
			c := customisedOn(h, one)
			base, err := h.Client().GetImage(h.Context(), one)
			if err != nil {
				t.Fatal(err)
			}

			ctrPull(h, r.push("plain", second(t, "plain", "")))
			announced(t, h, 0, "an image without the annotation")
			ctrPull(h, r.push("chain", second(t, "chain", topmost(h, base))))
			announced(t, h, 1, "ctr images pull, by chain ID")
			ctrPull(h, r.push("name", second(t, "name", one)))
			announced(t, h, 2, "ctr images pull, by name")
			// It fetches an image and unpacks it afterwards, without its annotations.
			ctrPull(h, r.push("local", second(t, "local", one)), "--local")
			announced(t, h, 2, "ctr images pull --local")
			clientPull(t, h, r.push("client", second(t, "client", one)))
			announced(t, h, 3, "a client's Pull, by name")

			inspected := h.Moltctl("update", "inspect", "u1")
			for _, part := range []string{"a layer that was committed", "web", "announced"} {
				if !strings.Contains(inspected, part) {
					t.Errorf("update inspect does not show %q:\n%s", part, inspected)
				}
			}
			c.Start()
			expect(t, c, "app; cat /etc/tag 2>&1 | grep -c 'No such'", "app 1\n1\n")
			c.Kill()
			h.Moltctl("update", "apply", "u1")
			eventually(t, h, "1 applied", "update", "ls")
			c.Start()
			expect(t, c, "app; cat /etc/tag /var/data/answer", "app 2\nchain42\n")
			expect(t, c, "grep -c 'port = 8080\\|workers = 2' /etc/app.conf", "2\n")
			c.Kill()
			h.Moltctl("check")
			c.Delete()
		})
	}
}

// TestPulledFromTrusted: an image of a registry that the operator trusts does more than announce its update; the same image, pulled
// from elsewhere, does not.
func TestPulledFromTrusted(t *testing.T) {
	t.Parallel()
	trusted, other := newRegistry(t), newRegistry(t)
	h := harness.Start(t, impatient(), harness.WithDaemonConfig(
		fmt.Sprintf("[servicing.on_commit]\ntrusted = \"apply\"\nsources = [%q]\n", trusted.host+"/")))
	one := trusted.push("1", app(t, 1))
	ctrPull(h, one)
	c := customisedOn(h, one)
	ctrPull(h, other.push("evil", second(t, "evil", one)))
	time.Sleep(3 * time.Second) // longer than it takes to ask where an image is from
	announced(t, h, 1, "a pull from elsewhere")
	ctrPull(h, trusted.push("2", second(t, "2", one)))
	eventually(t, h, "1 applied", "update", "ls")
	c.Start()
	expect(t, c, "app; cat /etc/tag", "app 2\n2")
	c.Kill()
	h.Moltctl("check")
	c.Delete()
}

// TestPulledAgain: an image that is pulled again, removed or not, announces nothing new, and the update can be applied.
func TestPulledAgain(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	r := newRegistry(t)
	one := r.push("1", app(t, 1))
	ctrPull(h, one)
	c := customisedOn(h, one)
	two := r.push("2", second(t, "2", one))
	for range 2 {
		for range 2 {
			ctrPull(h, two)
			announced(t, h, 1, "another pull")
		}
		h.Ctr("images", "rm", two)
		h.CollectGarbage()
		announced(t, h, 1, "the removal of the image")
	}
	ctrPull(h, two)
	h.Moltctl("update", "apply", "u1")
	eventually(t, h, "1 applied", "update", "ls")
	c.Start()
	expect(t, c, "app; cat /etc/tag", "app 2\n2")
	c.Kill()
	h.Moltctl("check")
	c.Delete()
}

// TestPulledByCRI: kubelet pulls the new image before it makes a container of it.
func TestPulledByCRI(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, harness.WithCRI())
	r := newRegistry(t)
	pull := func(name string) {
		t.Helper()
		request := &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: name}}
		_, err := h.CRI().Images.PullImage(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
	}
	img := app(t, 1)
	one := r.push("1", img)
	pull(one)
	annotations := map[string]string{labelStorage: "web"}
	pod := h.CRI().RunPod(harness.PodSpec{Name: "web", Namespace: "team", Annotations: annotations})
	c := pod.Run(harness.PodContainerSpec{Name: "app", Image: one})
	pull(r.push("2", second(t, "2", one)))
	announced(t, h, 1, "a pull by CRI")
	if inspected := h.Moltctl("update", "inspect", "u1"); !strings.Contains(inspected, "team/web/app") {
		t.Errorf("update inspect does not name the storage of the pod:\n%s", inspected)
	}
	if out := c.Exec("app"); out != "app 1\n" {
		t.Errorf("the container shows %q", out)
	}
	pod.Remove()
}
