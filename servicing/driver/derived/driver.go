// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package derived drops files that are made from others, or keeps and reports them where programs need them.
package derived

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// derivedFiles are made from other files. Where both sides changed one, neither is right: stale is worse than absent
// where those that read it do without, and makes no sense to be put beside. A package manager that works in the
// container later makes them again; until then they are gone, or kept and reported where what reads them needs them.
var derivedFiles = []struct {
	paths  sides.PathTable
	drop   bool
	reason string
}{
	{sides.PathTable{"var/cache/ldconfig/aux-cache"}, true, "only makes ldconfig faster"},
	{sides.PathTable{"usr/share/mime/mime.cache"}, true, "the files that it was made from are read instead"},
	{sides.PathTable{"usr/share/icons/*/icon-theme.cache"}, true, "the directories are read instead"},
	{sides.PathTable{
		"usr/lib/*/gio/modules/giomodule.cache", "usr/lib/gio/modules/giomodule.cache",
	}, true, "the modules are asked instead"},
	{sides.PathTable{"usr/lib/*/gconv/gconv-modules.cache"}, true, "the configuration is read instead"},
	{sides.PathTable{
		"usr/lib/udev/hwdb.bin", "etc/udev/hwdb.bin", "lib/udev/hwdb.bin",
	}, true, "made anew when the system starts; programs do without"},
	{sides.PathTable{"var/lib/systemd/catalog/database"}, true,
		"made anew when the system starts; programs do without"},
	{sides.PathTable{
		"var/cache/man/index.db", "var/cache/man/*/index.db",
	}, true, "the manual pages are looked for instead"},
	{sides.PathTable{"var/cache/fontconfig/*.cache-*"}, true, "the fonts are read instead"},
	{sides.PathTable{"var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin"}, true, "apt makes it anew"},

	{sides.PathTable{
		"usr/share/glib-2.0/schemas/gschemas.compiled",
	}, false, "programs stop without it; run glib-compile-schemas"},
	{sides.PathTable{
		"usr/lib/*/gdk-pixbuf-2.0/*/loaders.cache",
	}, false, "images cannot be read without it; run gdk-pixbuf-query-loaders"},
	{sides.PathTable{
		"usr/lib/*/gtk-*/*/immodules.cache",
	}, false, "input methods are not found without it; run gtk-query-immodules"},
	{sides.PathTable{
		"usr/share/applications/mimeinfo.cache",
	}, false, "programs for types of files are not found without it; run update-desktop-database"},
	{sides.PathTable{"usr/lib/locale/locale-archive"}, false, "locales are gone without it; run locale-gen"},
	{sides.PathTable{"usr/share/info/dir"}, false, "the manuals are not listed without it; run install-info"},
	{sides.PathTable{"etc/ssl/certs/java/cacerts"}, false, "nothing is trusted without it; run update-ca-certificates"},
	{sides.PathTable{"etc/ld.so.cache"}, false, "libraries are not found without it; run ldconfig"},
	{sides.PathTable{"*.pyc"}, false, "to be compared with its source"},
}

// driverName is what the driver is called in reports.
const driverName = "derived"

// What the driver does besides having a name.
var _ plan.Resolver = driver{}

// driver drops files that are made from others, or keeps the user's.
type driver struct{}

// New makes the driver of a plan.
func New(plan.Plan) plan.Driver { return driver{} }

// Name returns what the driver is called.
func (driver) Name() string { return driverName }

// Takes takes files that are made from others.
func (driver) Takes(p string) bool {
	for _, one := range derivedFiles {
		if one.paths.Has(p) {
			return true
		}
	}
	return false
}

// Resolve drops a file that is made from others, or keeps the user's.
func (driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	for _, one := range derivedFiles {
		switch {
		case !one.paths.Has(t.Path):
			continue
		case one.drop:
			return plan.Decision{
				Verdict: report.Drop, Rule: "F3", Reason: "made from other files, changed on both sides: " + one.reason,
				Result: sides.Nothing(),
			}, true, nil
		default:
			return plan.Decision{
				Verdict: report.Keep, Rule: "F3", Reason: "made from other files, changed on both sides: " + one.reason,
				Result: sides.Shows(t.U),
			}, true, nil
		}
	}
	return plan.Decision{}, false, nil
}
