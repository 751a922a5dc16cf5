# SPDX-License-Identifier: BSD-2-Clause
# Completion of underpass(1) for bash, which makes three words of --dir=/x.

# Finds in the words before the cursor what is no option: the command; and the daemon's directory.
_underpass_scan() {
	local i option
	command='' dir=() value_of=''
	for ((i = 1; i < COMP_CWORD; i++)); do
		option=${COMP_WORDS[i]}
		case $option in
		-d | --dir | -m | --memory | --tenant | --guid | --doorbells) value_of=$option ;;
		--wait | --watch) [[ ${COMP_WORDS[i + 1]} == = ]] && value_of=$option ;;
		=) ;;
		-*) value_of='' ;;
		*)
			case $value_of in
			-d | --dir) dir=(--dir "$option") ;;
			'') command+=" $option" ;;
			esac
			value_of=''
			;;
		esac
	done
}

_underpass() {
	local word=${COMP_WORDS[COMP_CWORD]} words='' command dir value_of

	_underpass_scan
	[[ $word == = ]] && word=''
	case $value_of in
	-d | --dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		return
		;;
	--doorbells) words='shared trap' ;;
	?*) return ;;
	*)
		case $command in
		'') words='port qemu-args status stats' ;;
		' port') words='list add remove plug unplug' ;;
		' port remove' | ' port plug' | ' port unplug' | ' qemu-args' | ' stats')
			words=$(underpass "${dir[@]}" port list 2>/dev/null | awk 'NR > 1 { print $1 }')
			;;
		esac
		;;
	esac
	if [[ $word == -* ]]; then
		words='--dir= --json --wait --help'
		case $command in
		' port add'*) words+=' --tenant= --guid= --doorbells=' ;;
		' port remove'*) words+=' --force' ;;
		' qemu-args'*) words+=' --memory= --device-only' ;;
		' stats'*) words+=' --qps --watch' ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	[[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}
complete -F _underpass underpass
