// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry serves images to whoever pulls them, by the read-only part of the distribution API. It keeps them in memory.
type Registry struct {
	mu sync.Mutex
	// manifests by "repository:tag".
	manifests map[string]ocispec.Descriptor
	blobs     map[digest.Digest][]byte
}

// NewRegistry returns a registry without images.
func NewRegistry() *Registry {
	return &Registry{manifests: map[string]ocispec.Descriptor{}, blobs: map[digest.Digest][]byte{}}
}

// Add serves an image under a repository and a tag, whatever its own name is. An image of that tag is replaced.
func (r *Registry) Add(repository, tag string, img Image) error {
	var layout bytes.Buffer
	manifest, err := img.WriteTar(&layout)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifests[repository+":"+tag] = manifest
	for tr := tar.NewReader(&layout); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layout of %s: %w", img.Name, err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			return fmt.Errorf("read %s of %s: %w", h.Name, img.Name, err)
		}
		if strings.HasPrefix(h.Name, "blobs/") {
			r.blobs[digest.FromBytes(content)] = content
		}
	}
}

// ServeHTTP answers to GET and HEAD of /v2/, manifests (by tag and by digest) and blobs.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.Error(w, "this registry is read-only", http.StatusMethodNotAllowed)
		return
	}
	if req.URL.Path == "/v2/" {
		w.WriteHeader(http.StatusOK)
		return
	}
	mediaType, content, ok := r.find(strings.TrimPrefix(req.URL.Path, "/v2/"))
	if !ok {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(content).String())
	if req.Method == http.MethodGet {
		_, _ = w.Write(content) // who hangs up pulls again
	}
}

// find returns what is served at "repository/manifests/reference" or "repository/blobs/digest".
func (r *Registry) find(path string) (mediaType string, content []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if repository, reference, is := strings.Cut(path, "/manifests/"); is {
		d := digest.Digest(reference)
		if manifest, tagged := r.manifests[repository+":"+reference]; tagged {
			d = manifest.Digest
		}
		content, ok = r.blobs[d]
		return ocispec.MediaTypeImageManifest, content, ok
	}
	_, reference, _ := strings.Cut(path, "/blobs/")
	content, ok = r.blobs[digest.Digest(reference)]
	return "application/octet-stream", content, ok
}
