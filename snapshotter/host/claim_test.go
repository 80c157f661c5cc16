// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/types/known/anypb"
)

// world is what a containerd knows, in a metadata store of its own.
type world struct {
	*Host
	t   *testing.T
	ctx context.Context
	db  *metadata.DB
}

func newWorld(t *testing.T, namespace string) *world {
	t.Helper()
	dir := t.TempDir()
	bolt, err := bbolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	must(t, err)
	t.Cleanup(func() { must(t, bolt.Close()) })
	blobs, err := local.NewStore(dir)
	must(t, err)
	db := metadata.NewDB(bolt, blobs, nil)
	c, err := client.New("", client.WithServices(
		client.WithContainerStore(metadata.NewContainerStore(db)), client.WithSandboxStore(metadata.NewSandboxStore(db)),
		client.WithImageStore(metadata.NewImageStore(db)), client.WithContentStore(db.ContentStore()),
	))
	must(t, err)
	return &world{Host: &Host{client: c, snapshotter: "molt"}, t: t, ctx: namespaces.WithNamespace(t.Context(), namespace), db: db}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) container(c containers.Container) {
	w.t.Helper()
	if c.SnapshotKey == "" {
		c.SnapshotKey = c.ID
	}
	if c.Snapshotter == "" {
		c.Snapshotter = "molt"
	}
	c.Runtime.Name = "runtime"
	c.Spec = &anypb.Any{TypeUrl: "spec"}
	_, err := metadata.NewContainerStore(w.db).Create(w.ctx, c)
	must(w.t, err)
}

func (w *world) sandbox(id string, extensions map[string]typeurl.Any) {
	w.t.Helper()
	_, err := metadata.NewSandboxStore(w.db).Create(w.ctx, sandbox.Sandbox{ID: id, Runtime: sandbox.RuntimeOpts{Name: "runtime"}, Extensions: extensions})
	must(w.t, err)
}

// image makes an image without layers whose configuration has labels.
func (w *world) image(name string, labels map[string]string) {
	w.t.Helper()
	p := platforms.DefaultSpec()
	config := w.blob(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: p.OS, Architecture: p.Architecture}, Config: ocispec.ImageConfig{Labels: labels}})
	manifest := w.blob(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{},
	})
	_, err := metadata.NewImageStore(w.db).Create(w.ctx, images.Image{Name: name, Target: manifest})
	must(w.t, err)
}

func (w *world) blob(mediaType string, v any) ocispec.Descriptor {
	w.t.Helper()
	data, err := json.Marshal(v)
	must(w.t, err)
	d := ocispec.Descriptor{MediaType: mediaType, Size: int64(len(data)), Digest: digest.FromBytes(data)}
	must(w.t, content.WriteBlob(w.ctx, w.db.ContentStore(), d.Digest.String(), bytes.NewReader(data), d))
	return d
}

// extension is a record as CRI keeps it.
func extension(name, json string) map[string]typeurl.Any {
	return map[string]typeurl.Any{name: &anypb.Any{TypeUrl: "cri", Value: []byte(json)}}
}

// expectClaim checks what the container "c" is found to ask for, or what its error is and says.
func (w *world) expectClaim(namespace, want string, kind error, says string) {
	w.t.Helper()
	claim, err := w.Claim(w.t.Context(), namespace, "c")
	got := claim.Storage
	switch {
	case kind == nil && err != nil:
		w.t.Errorf("got error %v", err)
	case kind != nil && (err == nil || !strings.Contains(err.Error(), kind.Error()) || !strings.Contains(err.Error(), says)):
		w.t.Errorf("got %q and error %v, want one that is %v and says %q", got, err, kind, says)
	case kind != nil && errdefs.IsNotFound(err) && !errdefs.IsNotFound(kind):
		w.t.Errorf("error %v would be taken for a container that is still being created", err)
	case got != want:
		w.t.Errorf("got storage %q, want %q", got, want)
	}
}

func TestClaimByLabel(t *testing.T) {
	label := func(value string) map[string]string { return map[string]string{StorageKey: value} }
	for name, c := range map[string]struct {
		container containers.Container
		image     map[string]string
		want      string
		err       error
		says      string
	}{
		"none":                         {container: containers.Container{}},
		"given":                        {container: containers.Container{Labels: label("web")}, want: "default/web"},
		"given, without an image":      {container: containers.Container{Labels: label("web"), Image: "-"}, want: "default/web"},
		"from the image":               {container: containers.Container{Labels: label("web")}, image: label("web")},
		"given, and one of the image":  {container: containers.Container{Labels: label("web")}, image: label("other"), want: "default/web"},
		"not a name":                   {container: containers.Container{Labels: label("../web")}, err: errdefs.ErrInvalidArgument, says: "letters"},
		"a name in another namespace":  {container: containers.Container{Labels: label("k8s.io/web")}, err: errdefs.ErrInvalidArgument, says: "letters"},
		"empty":                        {container: containers.Container{Labels: label("")}},
		"of another snapshotter":       {container: containers.Container{Labels: label("web"), Snapshotter: "overlayfs"}},
		"of another snapshot":          {container: containers.Container{Labels: label("web"), SnapshotKey: "other"}},
		"image is gone":                {container: containers.Container{Labels: label("web"), Image: "gone"}, err: errdefs.ErrUnavailable, says: "cannot be told"},
		"image says it is a sandbox":   {container: containers.Container{Labels: map[string]string{StorageKey: "web", "io.cri-containerd.kind": "sandbox"}}, want: "default/web"},
		"image says it is of a pod":    {container: containers.Container{Labels: map[string]string{StorageKey: "web", "io.cri-containerd.kind": "container"}}, want: "default/web"},
		"of a pod, with another label": {container: containers.Container{Labels: label("web"), Extensions: extension(extensionPause, "")}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "default")
			w.image("app", c.image)
			c.container.ID = "c"
			switch c.container.Image {
			case "":
				c.container.Image = "app"
			case "-":
				c.container.Image = ""
			}
			w.container(c.container)
			w.expectClaim("default", c.want, c.err, c.says)
		})
	}
}

func TestClaimOfPod(t *testing.T) {
	const (
		container = `{"Version":"v1","Metadata":{"SandboxID":"s","Config":{"metadata":{"name":"app","attempt":1}}}}`
		pod       = `{"Version":"v1","Metadata":{"Config":{"metadata":{"name":"web-0","namespace":"team"},"annotations":{"molt.dev/storage":"web"}}}}`
	)
	for name, c := range map[string]struct {
		container, pod string
		want           string
		err            error
		says           string
	}{
		"annotated":                       {container, pod, "k8s.io/team/web/app", nil, ""},
		"not annotated":                   {container, `{"Version":"v1","Metadata":{"Config":{"metadata":{"namespace":"team"}}}}`, "", nil, ""},
		"the container's annotation":      {`{"Version":"v1","Metadata":{"SandboxID":"s","Config":{"metadata":{"name":"app"},"annotations":{"molt.dev/storage":"web"}}}}`, `{"Version":"v1","Metadata":{"Config":{}}}`, "", nil, ""},
		"no namespace":                    {container, `{"Version":"v1","Metadata":{"Config":{"annotations":{"molt.dev/storage":"web"}}}}`, "k8s.io/default/web/app", nil, ""},
		"more than is known":              {container, strings.Replace(pod, `"Config"`, `"Later":[1],"Config"`, 1), "k8s.io/team/web/app", nil, ""},
		"not a name":                      {container, strings.Replace(pod, `"web"`, `"../web"`, 1), "", errdefs.ErrInvalidArgument, "web-0"},
		"a name in another namespace":     {container, strings.Replace(pod, `"web"`, `"other/web"`, 1), "", errdefs.ErrInvalidArgument, "web-0"},
		"an empty name":                   {container, strings.Replace(pod, `"web"`, `""`, 1), "", errdefs.ErrInvalidArgument, "web-0"},
		"a container without a name":      {`{"Version":"v1","Metadata":{"SandboxID":"s"}}`, pod, "", errdefs.ErrInvalidArgument, "web-0"},
		"container record is no JSON":     {"{", pod, "", errdefs.ErrUnavailable, "container"},
		"container record is empty":       {"", pod, "", errdefs.ErrUnavailable, "container"},
		"pod record is no JSON":           {container, "[]", "", errdefs.ErrUnavailable, "sandbox"},
		"pod record is empty":             {container, "", "", errdefs.ErrUnavailable, "sandbox"},
		"pod record is of another kind":   {container, "{}", "", errdefs.ErrUnavailable, "version"},
		"pod record is of a later time":   {container, strings.Replace(pod, "v1", "v2", 1), "", errdefs.ErrUnavailable, `"v2"`},
		"annotations are something else":  {container, strings.Replace(pod, `{"molt.dev/storage":"web"}`, `["molt.dev/storage"]`, 1), "", errdefs.ErrUnavailable, "sandbox"},
		"the annotation is not a string":  {container, strings.Replace(pod, `:"web"`, `:7`, 1), "", errdefs.ErrUnavailable, "sandbox"},
		"there is no sandbox":             {strings.Replace(container, `"s"`, `"gone"`, 1), pod, "", errdefs.ErrUnavailable, "gone"},
		"container record names none":     {`{"Version":"v1","Metadata":{"Config":{"metadata":{"name":"app"}}}}`, pod, "", errdefs.ErrUnavailable, "sandbox"},
		"record without a pod's metadata": {container, "-", "", errdefs.ErrUnavailable, "no CRI record"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "k8s.io")
			w.container(containers.Container{ID: "c", Labels: map[string]string{StorageKey: "not-this-one"}, Extensions: extension(extensionContainer, c.container)})
			extensions := extension(extensionSandbox, c.pod)
			if c.pod == "-" {
				extensions = nil
			}
			w.sandbox("s", extensions)
			w.expectClaim("k8s.io", c.want, c.err, c.says)
		})
	}
}

// TestClaimOfNobody: a container that is still being created, and one of the same name in another namespace.
func TestClaimOfNobody(t *testing.T) {
	w := newWorld(t, "default")
	w.image("app", nil)
	w.expectClaim("default", "", errdefs.ErrNotFound, "")
	w.container(containers.Container{ID: "c", Image: "app", Labels: map[string]string{StorageKey: "web"}})
	w.expectClaim("default", "default/web", nil, "")
	w.expectClaim("other", "", errdefs.ErrNotFound, "")
}

// TestTopmost: an image is found by its name or its short form, in its namespace only.
func TestTopmost(t *testing.T) {
	w := newWorld(t, "default")
	w.image("docker.io/library/app:1", nil)
	for _, name := range []string{"docker.io/library/app:1", "app:1"} {
		if _, err := w.Topmost(t.Context(), "default", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for namespace, name := range map[string]string{"default": "app:2", "other": "app:1"} {
		if _, err := w.Topmost(t.Context(), namespace, name); !errdefs.IsNotFound(err) {
			t.Errorf("%s in %s: %v", name, namespace, err)
		}
	}
}

// FuzzRecord: whatever is in a record, it is read or refused.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"Version":"v1","Metadata":{"SandboxID":"s","Config":{"metadata":{"name":"app"},"annotations":{"a":"b"}}}}`))
	f.Add([]byte(`{"Version":"v1","Metadata":{"Config":null}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := readRecord(map[string]typeurl.Any{"x": &anypb.Any{Value: data}}, "x")
		if err == nil && r.Version != recordVersion || err != nil && !errdefs.IsUnavailable(err) {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}
