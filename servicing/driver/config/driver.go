// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config merges configuration files by key.
package config

import (
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/config"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/diff3"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// configFormats says how configuration files with keys are written.
var configFormats = []struct {
	paths  sides.PathTable
	format config.Format
}{
	{sides.PathTable{"*.json"}, config.JSON},
	{sides.PathTable{"*.yaml", "*.yml"}, config.YAML},
	{sides.PathTable{"*.toml"}, config.TOML},
	{sides.PathTable{
		"etc/ssh/sshd_config", "etc/ssh/sshd_config.d/*.conf", "etc/ssh/ssh_config", "etc/ssh/ssh_config.d/*.conf",
		"etc/login.defs",
		"etc/nsswitch.conf", "etc/host.conf", "etc/redis/*.conf", "etc/chrony/chrony.conf", "etc/vsftpd.conf",
	}, config.Words},
	{sides.PathTable{
		"*.ini", "*.desktop", "*.service", "*.socket", "*.timer", "*.mount", "*.automount", "*.path", "*.target",
		"*.slice",
		"*.swap",
		"*.network", "*.netdev", "*.link", "*.repo", "*.cnf", "etc/systemd/*.conf", "etc/systemd/*/*.conf",
		"etc/systemd/system/*/*.conf",
		"etc/NetworkManager/*.conf", "etc/NetworkManager/conf.d/*.conf", "etc/gitconfig", "etc/pip.conf",
		"etc/dnf/*.conf",
		"etc/yum.conf",
		"etc/php/*/*/php.ini", "etc/samba/smb.conf", "etc/fail2ban/*.conf", "etc/fail2ban/*.local", "etc/nfs.conf",
		"etc/idmapd.conf",
		"etc/supervisor/*.conf", "etc/supervisor/conf.d/*.conf", "etc/odbc.ini", "etc/odbcinst.ini",
	}, config.INI},
	{sides.PathTable{
		"etc/default/*", "etc/conf.d/*", "etc/sysconfig/*", "etc/environment", "etc/environment.d/*.conf",
		"etc/locale.conf", "etc/vconsole.conf",
		"etc/sysctl.conf", "etc/sysctl.d/*.conf", "etc/adduser.conf", "etc/deluser.conf", "etc/rc.conf",
		"etc/security/pwquality.conf",
		"etc/security/faillock.conf", "etc/postgresql/*/*/postgresql.conf", "etc/os-release", "etc/lsb-release",
	}, config.Assignments},
}

// driverName is what the driver is called in reports.
const driverName = "config"

// What the driver does besides having a name.
var _ plan.Resolver = (*driver)(nil)

// driver merges configuration files by key.
type driver struct {
	plan    plan.Plan
	renames map[string][]config.Renaming // by file, as the base declares them; nil until they are read
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{plan: p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// configFormat returns how a file is written.
func configFormat(p string) (config.Format, bool) {
	for _, one := range configFormats {
		if one.paths.Has(p) {
			return one.format, true
		}
	}
	return config.Format{}, false
}

// Takes takes configuration files with keys.
func (dr *driver) Takes(p string) bool {
	_, ok := configFormat(p)
	return ok && !sides.DataPaths.Has(p)
}

// Resolve merges by key. The merge by lines is preferred where it says the same: it merges comments as well. Where both
// sides changed one key, it stands only if what comes out is sound: the key may be a list, in which lines are apart.
func (dr *driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	if !t.O.Is(tree.Regular) {
		return plan.Decision{}, false, nil
	}
	contents, err := sides.ReadThree(t, diff3.MaxSize)
	if err != nil || contents == nil {
		return plan.Decision{}, false, err
	}
	old, base, user := contents[sides.Old], contents[sides.New], contents[sides.User]
	format, _ := configFormat(t.Path)
	declared, err := dr.declared(t.Path)
	if err != nil {
		return plan.Decision{}, false, err
	}
	for _, r := range declared {
		old, user = format.Renamed(old, r), format.Renamed(user, r)
	}
	content, byKey := format.Merge(old, base, user)
	lines, byLines := diff3.Merge(old, base, user)
	switch {
	case byKey == nil && (byLines != nil || len(declared) > 0 || format.Agrees(lines, old, base, user) != nil):
		d := plan.Decision{Verdict: report.Merge, Rule: "A4", Reason: "merged by key", Result: sides.Makes(t, content)}
		return d, true, nil //nolint:nilerr // that the lines conflict is why the keys decide
	case errors.Is(byKey, config.ErrConflict) && byLines == nil && !format.Sound(lines, base, user):
		d, err := dr.plan.KeepUsers(t)
		d.Reason += "; the lines are apart, but say the same thing twice"
		return d, true, err
	}
	if renamed := perhaps(format.PerhapsRenamed(old, base, user)); renamed != "" && byKey != nil && byLines != nil {
		d, err := dr.plan.KeepUsers(t)
		d.Reason += renamed
		return d, true, err
	}
	return plan.Decision{}, false, nil
}
