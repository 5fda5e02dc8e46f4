"""The commands of the program `stlight`, one file each: flags in, one library call, exit status out."""
