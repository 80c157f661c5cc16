// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certificates makes the store of trusted certificates again, where both sides changed something about it.
package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/cacerts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const (
	certificatesRule = "F4"
	maxBundle        = 16 << 20
	maxCertificate   = 1 << 20
)

// driverName is what the driver is called in reports.
const driverName = "certificates"

// What the driver does besides having a name.
var (
	_ plan.Resolver = (*driver)(nil)
	_ plan.Finisher = (*driver)(nil)
)

// driver makes the store of trusted certificates again.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes the paths of this driver.
func (dr *driver) Takes(name string) bool { return name == cacerts.BundlePath }

// Resolve keeps the user's bundle for the time being: mergeCertificates makes it again.
func (dr *driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	return plan.Decision{
		Verdict: report.Keep, Rule: certificatesRule, Reason: "changed on both sides", Result: sides.Shows(t.U),
	}, true, nil
}

// Finish makes the store of trusted certificates again, where both sides changed something about it.
func (dr *driver) Finish(context.Context) error {
	concerned, err := dr.certificatesConcerned()
	if err != nil || !concerned {
		return err
	}
	err = dr.remakeCertificates()
	if errors.Is(err, tree.ErrTooLarge) {
		return nil // the user's stays
	}
	return err
}

func (dr *driver) remakeCertificates() error {
	files, err := dr.trustedFiles(dr.plan.SoFar())
	if err != nil {
		return err
	}
	if err := dr.mergeBundle(files); err != nil {
		return err
	}
	return dr.linkCertificates(files)
}

// certificatesConcerned reports whether both the storage and the base have something to say about certificates.
func (dr *driver) certificatesConcerned() (bool, error) {
	touched := false
	for _, dir := range []string{cacerts.StoreDir, cacerts.SystemDir, cacerts.LocalDir} {
		names, err := sides.ReadDir(dr.plan.Views().Said, dir)
		if err != nil {
			return false, err
		}
		touched = touched || len(names) > 0 || dr.plan.Emptied(dir)
	}
	config, err := sides.Lookup(dr.plan.Views().Said, cacerts.ConfigPath)
	if err != nil || !touched && config.Absent() {
		return false, err
	}
	var contents [2][]byte
	for side, view := range []*tree.View{dr.plan.Views().Old, dr.plan.Views().New} {
		s := sides.NewScene(view, nil)
		files, err := dr.trustedFiles(s)
		if err != nil {
			return false, err
		}
		bundle, err := s.Read(cacerts.BundlePath, maxBundle)
		if err != nil {
			return false, err
		}
		for _, f := range files {
			contents[side] = append(append(contents[side], f.path...), f.content...)
		}
		contents[side] = append(contents[side], bundle...)
	}
	return !bytes.Equal(contents[0], contents[1]), nil
}

// certificateFile is a file with a certificate.
type certificateFile struct {
	path    string
	content []byte
}

// trustedFiles returns the certificate files that are trusted, in the order of the bundle.
func (dr *driver) trustedFiles(s *sides.Scene) ([]certificateFile, error) {
	config, err := s.Read(cacerts.ConfigPath, maxCertificate)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range cacerts.Selected(config) {
		names = append(names, path.Join(cacerts.SystemDir, name))
	}
	own, err := findFiles(s, cacerts.LocalDir, ".crt")
	if err != nil {
		return nil, err
	}
	return readCertificates(s, append(names, own...))
}

// mergeBundle makes the bundle of the trusted files and what the user put into it by hand, without what the user took
// out.
func (dr *driver) mergeBundle(files []certificateFile) error {
	t, err := dr.plan.Look(cacerts.BundlePath)
	if err != nil {
		return err
	}
	contents, err := sides.ReadThree(t, maxBundle)
	if err != nil || contents == nil {
		return err
	}
	before := sides.NewScene(dr.plan.Views().User, nil)
	var available [][]byte
	for _, dir := range []string{cacerts.SystemDir, cacerts.LocalDir} {
		names, err := findFiles(before, dir, ".crt")
		if err != nil {
			return err
		}
		had, err := readCertificates(before, names)
		if err != nil {
			return err
		}
		for _, f := range had {
			available = append(available, f.content)
		}
	}
	trusted := make([][]byte, 0, len(files))
	for _, f := range files {
		trusted = append(trusted, f.content)
	}
	content := cacerts.Merge(contents[sides.Old], contents[sides.New], contents[sides.User], trusted, available)
	shown, err := dr.plan.SoFar().Read(cacerts.BundlePath, maxBundle)
	if err != nil || bytes.Equal(shown, content) {
		return err
	}
	return shared.Again(dr.plan, t, plan.Decision{
		Verdict: report.Regenerate, Rule: certificatesRule, Driver: driverName,
		Reason: "made anew of the certificates that are trusted in the result", Result: sides.Makes(t, content),
	})
}

// linkCertificates makes the links in the store those of the result: to the files, and by the hashes of their subjects.
func (dr *driver) linkCertificates(files []certificateFile) error {
	s := dr.plan.SoFar()
	names, err := s.Names(cacerts.StoreDir)
	if err != nil || !slices.ContainsFunc(names, cacerts.IsHash) {
		return err // a store without such links
	}
	trusted := make([]string, 0, len(files))
	for _, f := range files {
		trusted = append(trusted, f.path)
	}
	links, err := storeLinks(s, names)
	if err != nil {
		return err
	}
	if err := dr.applyStoreLinks(cacerts.Links(links, trusted)); err != nil {
		return err
	}
	s = dr.plan.SoFar()
	if names, err = s.Names(cacerts.StoreDir); err != nil {
		return err
	}
	if links, err = storeLinks(s, names); err != nil {
		return err
	}
	var paths []string
	for _, name := range names {
		if cacerts.IsCertificate(name) {
			paths = append(paths, path.Join(cacerts.StoreDir, name))
		}
	}
	there, err := readCertificates(s, paths)
	if err != nil {
		return err
	}
	var named []cacerts.File
	for _, f := range there {
		named = append(named, cacerts.File{Name: path.Base(f.path), Content: f.content})
	}
	return dr.applyStoreLinks(cacerts.Rehash(named, links))
}

// storeLinks returns the targets of the symbolic links in the store by name; names that are none have "".
func storeLinks(s *sides.Scene, names []string) (map[string]string, error) {
	out := make(map[string]string)
	for _, name := range names {
		n, err := s.Look(path.Join(cacerts.StoreDir, name))
		if err != nil {
			return nil, err
		}
		out[name] = n.Link
	}
	return out, nil
}

// applyStoreLinks makes changes to the links in the store; "" stands for none. What the user deleted stays deleted.
func (dr *driver) applyStoreLinks(changes map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		t, err := dr.plan.Look(path.Join(cacerts.StoreDir, name))
		if err != nil {
			return err
		}
		if t.O.File() && t.U.Absent() && !cacerts.IsHash(name) {
			continue
		}
		if err := shared.ShowLink(dr.plan, t, changes[name], plan.Decision{
			Verdict: report.Regenerate, Rule: certificatesRule, Driver: driverName,
			Reason: "a link to a certificate that is trusted in the result",
		}); err != nil {
			return err
		}
	}
	return nil
}

// readCertificates reads files. If they are larger than a bundle may be, the error wraps tree.ErrTooLarge.
func readCertificates(s *sides.Scene, names []string) ([]certificateFile, error) {
	var out []certificateFile
	total := 0
	for _, name := range names {
		content, err := s.Read(name, maxCertificate)
		if err != nil {
			return nil, err
		}
		if total += len(content); total > maxBundle {
			return nil, fmt.Errorf("read certificates: %w", tree.ErrTooLarge)
		}
		if content != nil {
			out = append(out, certificateFile{name, content})
		}
	}
	return out, nil
}

// findFiles returns the regular files below a directory whose names have a suffix, sorted.
func findFiles(s *sides.Scene, dir, suffix string) ([]string, error) {
	var out []string
	pending := []string{dir}
	for len(pending) > 0 {
		dir := pending[0]
		pending = pending[1:]
		names, err := s.Names(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			full := path.Join(dir, name)
			n, err := s.Look(full)
			if err != nil {
				return nil, err
			}
			is, err := s.Has(full)
			switch {
			case err != nil:
				return nil, err
			case n.Dir():
				pending = append(pending, full)
			case is && strings.HasSuffix(name, suffix):
				out = append(out, full)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
